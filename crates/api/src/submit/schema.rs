//! Tasks' `input_schema`, each compiled once.

use std::collections::HashMap;

use domain::task::{TaskName, TaskSpec};
use jsonschema::Validator;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::problem::{Faults, table};

/// A task's `input_schema` is no JSON Schema.
#[derive(Debug, thiserror::Error)]
#[error("tasks.{task}.input_schema: {detail}")]
pub struct BadSchema {
    /// Whose.
    pub task: TaskName,
    /// What is wrong with it.
    pub detail: String,
}

/// Looks whether an `input_schema` is one that can be used, for checking a configuration.
///
/// # Errors
/// With what is wrong with it.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    compile(schema).map(drop)
}

fn compile(schema: &Value) -> Result<Validator, String> {
    // Without a retriever (none is compiled in) a schema can refer to itself and to the meta-schemas, and to nothing
    // on the network.
    jsonschema::validator_for(schema).map_err(|error| error.to_string())
}

/// The schemas of all tasks that have one.
pub(crate) struct Schemas(HashMap<TaskName, Validator>);

impl Schemas {
    pub(crate) fn compile(tasks: &[TaskSpec]) -> Result<Self, BadSchema> {
        let with_schema = tasks.iter().filter_map(|task| Some((task, task.input_schema.as_ref()?)));
        with_schema
            .map(|(task, schema)| match compile(schema) {
                Ok(validator) => Ok((task.name.clone(), validator)),
                Err(detail) => Err(BadSchema { task: task.name.clone(), detail }),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Judges an input; faults point into `/input`.
    pub(crate) fn judge(&self, task: &TaskName, input: Option<&RawValue>, faults: &mut Faults) {
        let Some(validator) = self.0.get(task) else { return };
        let value = match input.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get())) {
            Ok(value) => value,
            Err(_) => {
                let detail = "holds a number that a schema cannot judge";
                return faults.add_as(&table::INPUT_INVALID, "/input", detail);
            }
        };
        if validator.is_valid(&value) {
            return;
        }
        for error in validator.iter_errors(&value) {
            let pointer = format!("/input{}", error.instance_path().as_str());
            // Masked: the text names the rule and not the value.
            faults.add_as(&table::INPUT_INVALID, pointer, error.masked().to_string());
        }
    }
}
