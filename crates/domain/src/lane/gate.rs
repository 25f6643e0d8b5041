//! Whether a lane may send at all: the breaker with its probes, and the rest that a receiver asked for.

use std::time::Duration;

use crate::time::Timestamp;

/// So many failures in a row open the breaker.
const OPENS_AFTER: u32 = 5;
/// How long after that the first probe goes, …
const FIRST: Duration = Duration::from_secs(5);
/// … and how far apart probes are at most.
const LAST: Duration = Duration::from_secs(5 * 60);

/// What an attempt says of whether its destination is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// It took what it was sent.
    Taken,
    /// It answered, which on a lane of many URLs says nothing of the others.
    There,
    /// It failed.
    Fails,
    /// Nothing: a failure of ours.
    None,
}

/// How a lane's breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breaker {
    /// Everything is sent.
    Closed,
    /// Nothing is; one probe goes at the time.
    Open(Timestamp),
    /// The probe is out.
    HalfOpen,
}

/// What an attempt said that was sent in an endpoint's lane, as its row keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its receiver took it.
    pub taken: bool,
    /// It was a probe.
    pub probe: bool,
    /// When it was over.
    pub at: Timestamp,
}

/// What is recorded of an endpoint's lane.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// What its latest attempts said that say anything of it, the last one first: at most [`Breaker::RECORDED`].
    pub latest: Vec<Recorded>,
    /// A probe is out.
    pub probing: bool,
}

impl Breaker {
    /// How many of the latest attempts [`Breaker::recorded`] looks at: those that open it, and as many probes as there are
    /// until they are as far apart as they get.
    pub const RECORDED: u32 = OPENS_AFTER + 6;

    /// How an endpoint's breaker stands by what is recorded: for whoever does not serve it.
    pub fn recorded(record: &Record) -> Self {
        let Record { latest, probing } = record;
        let failed = latest.iter().take_while(|attempt| !attempt.taken);
        let Some(last) = latest.first().filter(|_| failed.clone().count() >= OPENS_AFTER as usize) else {
            return Breaker::Closed;
        };
        if *probing {
            return Breaker::HalfOpen;
        }
        let probes = failed.filter(|attempt| attempt.probe).count() as u32;
        Breaker::Open(last.at + FIRST.saturating_mul(1 << probes).min(LAST))
    }
}

/// What a lane may send now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Allowance {
    /// As much as its cap says.
    Free,
    /// One row, the oldest, whether its time has come or not.
    Probe,
    /// Nothing before then.
    From(Timestamp),
    /// Nothing before the probe is back.
    Nothing,
}

/// One lane's gate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    state: State,
    /// Nothing is sent before then.
    rest: Option<Timestamp>,
    /// It has opened, or the head of an order failed, and nothing was taken since.
    owed: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp, wait: Duration },
    Probing { wait: Duration },
}

impl Default for State {
    fn default() -> Self {
        State::Closed { failures: 0 }
    }
}

impl Gate {
    pub(super) fn allowance(&self, now: Timestamp) -> Allowance {
        let from = match self.state {
            State::Probing { .. } => return Allowance::Nothing,
            State::Open { until, .. } => self.rest.map_or(until, |rest| rest.max(until)),
            State::Closed { .. } => self.rest.unwrap_or(now),
        };
        match self.state {
            _ if from > now => Allowance::From(from),
            State::Open { .. } => Allowance::Probe,
            _ => Allowance::Free,
        }
    }

    pub(super) fn breaker(&self) -> Breaker {
        match self.state {
            State::Closed { .. } => Breaker::Closed,
            State::Open { until, .. } => Breaker::Open(until),
            State::Probing { .. } => Breaker::HalfOpen,
        }
    }

    /// Is it worth remembering while the lane is idle?
    pub(super) fn is_marked(&self, now: Timestamp) -> bool {
        let failed = !matches!(self.state, State::Closed { failures: 0 });
        failed || self.owed || self.rest.is_some_and(|rest| rest > now)
    }

    /// The probe goes.
    pub(super) fn probes(&mut self) {
        if let State::Open { wait, .. } = self.state {
            self.state = State::Probing { wait };
        }
    }

    /// It found nothing to be sent, or is lost: another one after the same time.
    pub(super) fn probe_again(&mut self, now: Timestamp) {
        if let State::Probing { wait } = self.state {
            self.state = State::Open { until: now + wait, wait };
        }
    }

    /// Nothing is to be sent before `until`.
    pub(super) fn rest(&mut self, until: Timestamp) {
        self.rest = self.rest.max(Some(until));
    }

    /// It was open when its lane was last served: a probe may go at once. What this one has learned itself counts for more.
    pub(super) fn was_open(&mut self, now: Timestamp) {
        if matches!(self.state, State::Closed { failures: 0 }) && !self.owed {
            self.state = State::Open { until: now, wait: FIRST };
            self.owed = true;
        }
    }

    /// The head of an order failed: the first that is taken lets what waits go.
    pub(super) fn owe(&mut self) {
        self.owed = true;
    }

    /// An attempt is over. `true`: it is the first that was taken since the breaker opened, so that what waits may go.
    pub(super) fn learn(&mut self, sign: Sign, probe: bool, now: Timestamp) -> bool {
        match (sign, self.state) {
            (Sign::Taken, _) => {
                self.state = State::default();
                return std::mem::take(&mut self.owed);
            }
            (Sign::There, _) => self.state = State::default(),
            (Sign::Fails, State::Closed { failures }) if failures + 1 < OPENS_AFTER => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (Sign::Fails, State::Closed { .. }) => {
                self.state = State::Open { until: now + FIRST, wait: FIRST };
                self.owed = true;
            }
            (Sign::Fails, State::Probing { wait }) if probe => {
                let wait = (wait * 2).min(LAST);
                self.state = State::Open { until: now + wait, wait };
            }
            (Sign::None, State::Probing { .. }) if probe => self.probe_again(now),
            // What was on its way when it opened.
            (Sign::Fails | Sign::None, _) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn opened() -> Gate {
        let mut gate = Gate::default();
        (0..5).for_each(|_| assert!(!gate.learn(Sign::Fails, false, at(0))));
        gate
    }

    #[test]
    fn opens_after_five_failures_in_a_row() {
        let mut gate = Gate::default();
        for sign in [Sign::Fails, Sign::Fails, Sign::Fails, Sign::Fails, Sign::Taken] {
            assert!(!gate.learn(sign, false, at(0)));
        }
        for sign in [Sign::Fails, Sign::Fails, Sign::None, Sign::Fails, Sign::Fails, Sign::There] {
            assert!(!gate.learn(sign, false, at(0)));
            assert_eq!(gate.allowance(at(0)), Allowance::Free);
        }
        assert_eq!(opened().allowance(at(4)), Allowance::From(at(5)));
        assert_eq!(opened().breaker(), Breaker::Open(at(5)));
    }

    #[test]
    fn probes_go_at_doubling_times_up_to_five_minutes() {
        let (mut gate, mut now) = (opened(), at(0));
        for wait in [5, 10, 20, 40, 80, 160, 300, 300] {
            let due = now + Duration::from_secs(wait);
            assert_eq!(gate.allowance(now), Allowance::From(due), "{wait}");
            assert_eq!(gate.allowance(due), Allowance::Probe);
            gate.probes();
            assert_eq!((gate.allowance(due), gate.breaker()), (Allowance::Nothing, Breaker::HalfOpen));
            assert!(!gate.learn(Sign::Fails, false, due), "one from before says nothing");
            assert_eq!(gate.allowance(due), Allowance::Nothing);
            assert!(!gate.learn(Sign::Fails, true, due));
            now = due;
        }
        gate.probes();
        assert!(!gate.learn(Sign::None, true, now));
        assert_eq!(gate.allowance(now), Allowance::From(now + Duration::from_secs(300)), "the same again");
    }

    #[test]
    fn the_first_that_is_taken_says_so_once() {
        for there in [false, true] {
            let mut gate = opened();
            if there {
                assert!(!gate.learn(Sign::There, true, at(9)), "the breaker closes, and nothing is hurried");
                assert_eq!(gate.allowance(at(9)), Allowance::Free);
            }
            assert!(gate.is_marked(at(9)));
            assert!(gate.learn(Sign::Taken, false, at(10)));
            assert!(!gate.learn(Sign::Taken, false, at(10)) && !gate.is_marked(at(10)));
            assert_eq!((gate.allowance(at(10)), gate.breaker()), (Allowance::Free, Breaker::Closed));
        }
    }

    #[test]
    fn one_that_was_open_is_probed_at_once() {
        let mut gate = Gate::default();
        gate.was_open(at(7));
        assert_eq!((gate.allowance(at(7)), gate.breaker()), (Allowance::Probe, Breaker::Open(at(7))));
        gate.probes();
        assert!(!gate.learn(Sign::Fails, true, at(7)));
        assert_eq!(gate.allowance(at(7)), Allowance::From(at(17)), "and opens for longer");
        gate.was_open(at(8));
        assert_eq!(gate.allowance(at(8)), Allowance::From(at(17)), "what it knows itself counts");
        gate.probes();
        assert!(gate.learn(Sign::Taken, true, at(17)), "what waits may go");
    }

    #[test]
    fn what_was_recorded_says_the_same() {
        let attempts = |said: &str| -> Vec<Recorded> {
            let all = said.chars().rev().zip(1..).map(|(c, n)| (c, at(n))).collect::<Vec<_>>();
            let attempt = |(c, at): (char, Timestamp)| Recorded { taken: c == 't', probe: c == 'p', at };
            all.into_iter().rev().map(attempt).collect()
        };
        // The last one first: t was taken, f failed, p was a probe that did. When each was over: a second apart.
        for (said, expected) in [
            ("", Breaker::Closed),
            ("ffff", Breaker::Closed),
            ("fffft", Breaker::Closed),
            ("tfffff", Breaker::Closed),
            ("fffff", Breaker::Open(at(5 + 5))),
            ("ffffft", Breaker::Open(at(6 + 5))),
            ("pfffff", Breaker::Open(at(6 + 10))),
            ("ppfffff", Breaker::Open(at(7 + 20))),
            ("ppppppfffff", Breaker::Open(at(11 + 300))),
            ("ppppppppppp", Breaker::Open(at(11 + 300))),
        ] {
            let recorded = |probing| Breaker::recorded(&Record { latest: attempts(said), probing });
            assert_eq!(recorded(false), expected, "{said}");
            let closed = expected == Breaker::Closed;
            assert_eq!(recorded(true), if closed { expected } else { Breaker::HalfOpen }, "{said}");
        }
    }

    #[test]
    fn a_rest_holds_whatever_is_taken_meanwhile() {
        let mut gate = Gate::default();
        gate.rest(at(60));
        gate.rest(at(30));
        assert!(!gate.learn(Sign::Taken, false, at(1)));
        assert_eq!(gate.allowance(at(59)), Allowance::From(at(60)));
        assert_eq!(gate.allowance(at(60)), Allowance::Free);
        let mut gate = opened();
        gate.rest(at(9));
        assert_eq!(
            (gate.allowance(at(6)), gate.allowance(at(9))),
            (Allowance::From(at(9)), Allowance::Probe)
        );
    }

    proptest! {
        /// Whatever happens, there is one probe at a time, and a gate never stays shut for good.
        #[test]
        fn it_opens_again(steps in prop::collection::vec((0..4_u8, prop::bool::ANY, 0..400_i64), 0..200)) {
            let (mut gate, mut now, mut out) = (Gate::default(), 0, false);
            for (sign, probe, passed) in steps {
                now += passed;
                if gate.allowance(at(now)) == Allowance::Probe {
                    prop_assert!(!out);
                    gate.probes();
                    out = true;
                }
                let sign = [Sign::Taken, Sign::There, Sign::Fails, Sign::None][usize::from(sign)];
                let probe = probe && out;
                gate.learn(sign, probe, at(now));
                out &= gate.breaker() == Breaker::HalfOpen;
            }
            if out {
                gate.learn(Sign::Fails, true, at(now));
            }
            let later = at(now + 300);
            prop_assert!(matches!(gate.allowance(later), Allowance::Free | Allowance::Probe));
        }
    }
}
