//! Cursors of lists: opaque to clients. Inside, which list it is and the id that the page ended with.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{
    access::KeyId,
    id::{DeliveryId, EndpointId, JobId, TenantId},
};
use storage::EventMark;

/// An id that a list can continue behind.
pub(crate) trait Mark: Copy {
    /// Tells one list's cursors from another's.
    const LIST: u8;
    fn bits(self) -> u128;
    fn of(bits: u128) -> Self;
}

macro_rules! marks {
    ($($id:ident = $list:literal),*) => {$(
        impl Mark for $id {
            const LIST: u8 = $list;
            fn bits(self) -> u128 {
                self.as_u128()
            }
            fn of(bits: u128) -> Self {
                Self::from_u128(bits)
            }
        }
    )*};
}

marks!(JobId = b'j', DeliveryId = b'd', EndpointId = b'e', KeyId = b'k', TenantId = b't');

impl Mark for EventMark {
    const LIST: u8 = b'v';
    fn bits(self) -> u128 {
        self.0
    }
    fn of(bits: u128) -> Self {
        Self(bits)
    }
}

/// What a client passes on.
pub(crate) fn write<M: Mark>(last: M) -> String {
    let mut bytes = [M::LIST; 17];
    bytes[1..].copy_from_slice(&last.bits().to_be_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// `None`: not one of ours, or another list's.
pub(crate) fn read<M: Mark>(text: &str) -> Option<M> {
    let bytes: [u8; 17] = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let [list, id @ ..] = bytes;
    (list == M::LIST).then(|| M::of(u128::from_be_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_its_own_and_nothing_else() {
        for id in [0, 1, 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057, u128::MAX] {
            let text = write(JobId::from_u128(id));
            assert_eq!(read(&text), Some(JobId::from_u128(id)));
            assert_eq!(read::<DeliveryId>(&text), None);
        }
        for text in ["", "x", "job_00000000000000000000000000", &"A".repeat(23), &"é".repeat(12)] {
            assert_eq!(read::<JobId>(text), None, "{text}");
        }
    }
}
