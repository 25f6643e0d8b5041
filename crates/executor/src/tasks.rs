//! The tasks that run here, by group. A reload adds, changes and removes them; a task keeps its group for ever, so that
//! whatever is under way under its number stays its own.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use domain::{
    lane::Group,
    task::{TaskName, TaskSpec},
};

use crate::metrics::{Metrics, TaskMetrics};

/// A task as an attempt sees it from its start to its end.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) metrics: Arc<TaskMetrics>,
    /// Its jobs wait for it to come back.
    pub(crate) removed: bool,
}

#[derive(Default)]
struct Known {
    groups: HashMap<TaskName, Group>,
    tasks: Vec<Task>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Tasks(RwLock<Known>);

impl Tasks {
    fn read<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        // A panic inside these few lines cannot leave them half changed.
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on there are these and no others.
    pub(crate) fn replace(&self, specs: &[TaskSpec], metrics: &Metrics) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for task in &mut known.tasks {
            // It has no slots; what runs has the one it began with.
            task.spec = Arc::new(TaskSpec { concurrency: 0, ..(*task.spec).clone() });
            task.removed = true;
        }
        for spec in specs {
            let spec = Arc::new(spec.clone());
            match known.groups.get(&spec.name).copied() {
                Some(group) => {
                    if let Some(task) = known.tasks.get_mut(group.0 as usize) {
                        (task.spec, task.removed) = (spec, false);
                    }
                }
                None => {
                    let group = Group(u32::try_from(known.tasks.len()).unwrap_or(u32::MAX));
                    known.groups.insert(spec.name.clone(), group);
                    let metrics = Arc::new(metrics.task(spec.name.as_str()));
                    known.tasks.push(Task { spec, metrics, removed: false });
                }
            }
        }
    }

    /// The group of a task that was ever here.
    pub(crate) fn group(&self, task: &TaskName) -> Option<Group> {
        self.read(|known| known.groups.get(task).copied())
    }

    /// A task that is here.
    pub(crate) fn task(&self, name: &TaskName) -> Option<Task> {
        self.read(|known| {
            let group = known.groups.get(name)?;
            known.tasks.get(group.0 as usize).filter(|task| !task.removed).cloned()
        })
    }

    /// Every task that was ever here, by group. One that was removed has a concurrency of 0.
    pub(crate) fn all(&self) -> Vec<(Group, Arc<TaskSpec>)> {
        self.read(|known| (0..).map(Group).zip(known.tasks.iter().map(|task| task.spec.clone())).collect())
    }
}
