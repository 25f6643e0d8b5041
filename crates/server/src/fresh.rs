//! Keys of our own making, in the forms that the configuration takes.

use domain::{
    access::{ApiKey, KeyId},
    chance::Dice,
    vault::MasterKey,
};

/// An API key for `auth.bootstrap_key`.
pub(crate) fn bootstrap_key(dice: &dyn Dice) -> String {
    let mut secret = [0; 32];
    dice.fill(&mut secret);
    ApiKey::new(KeyId::from_u128(dice.bits()), secret).expose()
}

/// 32 bytes in base64, for `secrets.master_key`.
pub(crate) fn master_key(dice: &dyn Dice) -> String {
    let mut key = [0; 32];
    dice.fill(&mut key);
    MasterKey::from_bytes(key).expose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SystemDice;

    #[test]
    fn makes_what_is_read_back() {
        assert!(ApiKey::parse(&bootstrap_key(&SystemDice)).is_ok());
        assert!(MasterKey::parse(&master_key(&SystemDice)).is_ok());
        assert_ne!(bootstrap_key(&SystemDice), bootstrap_key(&SystemDice));
    }
}
