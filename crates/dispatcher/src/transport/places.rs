//! How many names may be looked up at a time, so that those that never answer leave room for those that do.
//!
//! The places are nested: names that answered lately may use all of them, new names three quarters, names that hang one.
//! A look-up that turns out to hang must find a place among those, or end: so half of the places serve new names, each for
//! the moment that an answer takes, and hundreds of names that nobody knows are soon told apart. Of several that wait, the
//! latest is first: it has the most time left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// How the last look-up of a name went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Pace {
    /// It answered, whatever it was.
    Quick,
    /// There was none.
    New,
    /// No answer came.
    Hanging,
}

const PACES: [Pace; 3] = [Pace::Quick, Pace::New, Pace::Hanging];

#[derive(Debug)]
pub(super) struct Places {
    /// For each pace: how many of this pace *and worse* there may be.
    most: [usize; 3],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For each pace: how many of this pace and worse there are.
    taken: [usize; 3],
    waiting: [Vec<oneshot::Sender<Place>>; 3],
}

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    pace: Pace,
}

impl Places {
    /// Of `most` in all.
    pub(super) fn new(most: usize) -> Self {
        let part = |of_four: usize| (most * of_four / 4).max(1);
        Self { most: [part(4), part(3), part(1)], state: Mutex::default() }
    }

    /// Waits for a place. A place that comes when nobody waits for it any more goes to the next.
    pub(super) async fn take(self: &Arc<Self>, pace: Pace) -> Place {
        let waiting = {
            let mut state = self.lock();
            if self.enter(&mut state, PACES[0], pace) {
                return self.place(pace);
            }
            let (tell, told) = oneshot::channel();
            let queue = &mut state.waiting[pace as usize];
            queue.retain(|waiter| !waiter.is_closed());
            queue.push(tell);
            told
        };
        match waiting.await {
            Ok(place) => place,
            // The sender lives as long as these places, which the caller holds.
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, pace: Pace) -> Place {
        Place { places: self.clone(), pace }
    }

    /// Counts one more from pace `from` to pace `to`, if each of them has room.
    fn enter(&self, state: &mut State, from: Pace, to: Pace) -> bool {
        let counts = from as usize..=to as usize;
        let fits = counts.clone().all(|n| state.taken[n] < self.most[n]);
        if fits {
            counts.for_each(|n| state.taken[n] += 1);
        }
        fits
    }
}

impl Place {
    pub(super) fn pace(&self) -> Pace {
        self.pace
    }

    /// It is one of a name that hangs from now on. False if there are too many of those; then it must end.
    pub(super) fn hangs(&mut self) -> bool {
        let next = match self.pace {
            Pace::Quick => Pace::New,
            Pace::New => Pace::Hanging,
            Pace::Hanging => return true,
        };
        let hangs = self.places.enter(&mut self.places.lock(), next, Pace::Hanging);
        if hangs {
            self.pace = Pace::Hanging;
        }
        hangs
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut given = Vec::new();
        let mut state = self.places.lock();
        (0..=self.pace as usize).for_each(|n| state.taken[n] -= 1);
        for pace in PACES {
            while let Some(waiter) = state.waiting[pace as usize].pop() {
                if waiter.is_closed() {
                    continue;
                }
                if !self.places.enter(&mut state, PACES[0], pace) {
                    state.waiting[pace as usize].push(waiter);
                    break;
                }
                given.push((waiter, self.places.place(pace)));
            }
        }
        // A waiter that has just gone gives its place back at once, which takes the lock again.
        drop(state);
        given.into_iter().for_each(|(waiter, place)| drop(waiter.send(place)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn now(places: &Arc<Places>, pace: Pace) -> Option<Place> {
        places.take(pace).now_or_never()
    }

    #[test]
    fn hanging_names_leave_places_for_new_ones_and_those_for_quick_ones() {
        let places = Arc::new(Places::new(8));
        let mut held = vec![];
        for (pace, fit) in [(Pace::Hanging, 2), (Pace::New, 4), (Pace::Quick, 2)] {
            held.extend((0..fit).map(|_| now(&places, pace).expect("a place is free")));
            assert!(now(&places, pace).is_none(), "{pace:?}");
        }
        held.clear();
        held.extend((0..8).map(|_| now(&places, Pace::Quick).expect("quick names may use all")));
    }

    #[test]
    fn what_hangs_leaves_the_places_of_others_or_ends() {
        let places = Arc::new(Places::new(8));
        let mut held: Vec<_> = (0..6).map(|_| now(&places, Pace::New).expect("free")).collect();
        held.extend((0..2).map(|_| now(&places, Pace::Quick).expect("free")));
        assert_eq!(held.iter_mut().map(Place::hangs).filter(|hangs| *hangs).count(), 2);
        // Of the six new ones, two hang now; the other four are still in the way of new ones.
        assert!(now(&places, Pace::New).is_none());
        held.drain(2..6);
        assert!(now(&places, Pace::New).is_some() && now(&places, Pace::Hanging).is_none());
        held.clear();
        assert_eq!(places.lock().taken, [0; 3]);
    }

    #[tokio::test]
    async fn the_latest_is_first_and_those_who_left_are_passed_over() {
        let places = Arc::new(Places::new(1));
        let held = now(&places, Pace::New).expect("free");
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(places.take(Pace::New))).collect();
        for waiter in &mut waiting {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        drop(waiting.pop());
        drop(held);
        assert!(waiting[0].as_mut().now_or_never().is_none());
        let second = waiting[1].as_mut().now_or_never().expect("the latest that still waits");
        drop(second);
        drop(waiting.remove(0).now_or_never().expect("then the one before"));
        assert_eq!(places.lock().taken, [0; 3]);
    }

    #[tokio::test]
    async fn a_place_that_came_too_late_is_given_back() {
        let places = Arc::new(Places::new(1));
        let held = now(&places, Pace::Quick).expect("free");
        let mut waiting = Box::pin(places.take(Pace::Quick));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        drop(waiting);
        assert!(now(&places, Pace::Quick).is_some());
    }
}
