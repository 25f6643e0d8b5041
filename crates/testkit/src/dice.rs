//! Dice that fall the same way for the same seed.

use std::sync::{Mutex, PoisonError};

use domain::chance::Dice;

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, equal on every machine, and good enough to shuffle a test.
/// Not for keys.
#[derive(Debug)]
pub struct SeededDice(Mutex<u64>);

impl SeededDice {
    /// The same seed rolls the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// One of `choices`, which holds at least one.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// Dice of their own, seeded by these: what draws from them does not shift what is drawn here.
    pub fn fork(&self) -> SeededDice {
        SeededDice::new(self.next())
    }
}

impl Dice for SeededDice {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_seed_1234567() {
        let dice = SeededDice::new(1_234_567);
        let rolled: Vec<u64> = (0..3).map(|_| dice.next()).collect();
        assert_eq!(rolled, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_fork_leaves_its_parent_alone() {
        let (left, right) = (SeededDice::new(5), SeededDice::new(5));
        let (fork, _) = (left.fork(), right.fork());
        fork.bits();
        assert_eq!(left.next(), right.next());
    }
}
