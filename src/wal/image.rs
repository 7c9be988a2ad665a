//! The kernel's state as bytes: state images of a trace.
//!
//! The encoding is bincode's with fixed-width little-endian integers, through serde. It says nothing about its own type:
//! whoever keeps an image keeps the state's fingerprint beside it, and folds from the start where that differs.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ImageError;
use super::frame::PAYLOAD_SIZE_BYTES_MAX;

/// The size limit holds while decoding: a length that claims more is refused before memory is asked for.
fn config() -> Configuration<LittleEndian, Fixint, Limit<PAYLOAD_SIZE_BYTES_MAX>> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<PAYLOAD_SIZE_BYTES_MAX>()
}

/// Returns the bytes of `state`, at most [`PAYLOAD_SIZE_BYTES_MAX`] of them. Equal states have equal bytes.
///
/// # Errors
///
/// [`ImageError::TooLarge`] and [`ImageError::NotEncoded`].
pub fn encode_state<T: Serialize>(state: &T) -> Result<Vec<u8>, ImageError> {
    let bytes = bincode::serde::encode_to_vec(state, config())
        .map_err(|error| ImageError::NotEncoded { reason: error.to_string() })?;
    if bytes.len() > PAYLOAD_SIZE_BYTES_MAX {
        return Err(ImageError::TooLarge { size_bytes: bytes.len(), size_bytes_max: PAYLOAD_SIZE_BYTES_MAX });
    }
    Ok(bytes)
}

/// Returns the state that `bytes` hold, all of them.
///
/// # Errors
///
/// [`ImageError::NotDecoded`] and [`ImageError::LeftOver`].
pub fn decode_state<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ImageError> {
    let (state, read_bytes) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| ImageError::NotDecoded { reason: error.to_string() })?;
    match bytes.len().saturating_sub(read_bytes) {
        0 => Ok(state),
        bytes => Err(ImageError::LeftOver { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct State {
        count: u64,
        mode: Mode,
        names: BTreeMap<String, Vec<Option<i64>>>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Mode {
        Active,
        Kill { since: i64 },
    }

    fn state() -> impl Strategy<Value = State> {
        let mode = prop_oneof![Just(Mode::Active), any::<i64>().prop_map(|since| Mode::Kill { since })];
        let values = prop::collection::vec(any::<Option<i64>>(), 0..4);
        let names = prop::collection::btree_map(".{0,6}", values, 0..4);
        (any::<u64>(), mode, names).prop_map(|(count, mode, names)| State { count, mode, names })
    }

    #[test]
    fn the_bytes_are_fixed_width_and_little_endian() {
        let names = BTreeMap::from([("a".to_string(), vec![None, Some(-1)])]);
        let state = State { count: 258, mode: Mode::Kill { since: 1 }, names };
        let expected = [
            &[2, 1, 0, 0, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, b'a'],
            &[2, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0xff; 8],
        ]
        .concat();
        assert_eq!(encode_state(&state).unwrap(), expected);
    }

    #[test]
    fn a_length_that_lies_is_refused_before_memory_is_asked_for() {
        for length in [u64::MAX, 1 << 40, 1 << 25] {
            let refused = decode_state::<Vec<u64>>(&length.to_le_bytes()).unwrap_err();
            assert!(matches!(refused, ImageError::NotDecoded { .. }), "{refused}");
            let refused = decode_state::<String>(&length.to_le_bytes()).unwrap_err();
            assert!(matches!(refused, ImageError::NotDecoded { .. }), "{refused}");
        }
    }

    #[test]
    fn another_type_is_refused() {
        let bytes = encode_state(&(1_u64, 2_u64)).unwrap();
        assert_eq!(decode_state::<u64>(&bytes), Err(ImageError::LeftOver { bytes: 8 }));
        assert!(decode_state::<(u64, u64, u64)>(&bytes).is_err());
        assert!(decode_state::<Mode>(&[9, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_largest_image_is_inclusive() {
        let fits = vec![0_u8; PAYLOAD_SIZE_BYTES_MAX - 8];
        let bytes = encode_state(&fits).unwrap();
        assert_eq!(bytes.len(), PAYLOAD_SIZE_BYTES_MAX);
        assert!(decode_state::<Vec<u8>>(&bytes).unwrap() == fits);
        let refused = encode_state(&vec![0_u8; PAYLOAD_SIZE_BYTES_MAX - 7]).unwrap_err();
        assert!(matches!(refused, ImageError::TooLarge { .. }), "{refused}");
    }

    proptest! {
        #[test]
        fn prop_a_state_comes_back(state in state()) {
            let bytes = encode_state(&state).unwrap();
            prop_assert_eq!(&encode_state(&state).unwrap(), &bytes);
            prop_assert_eq!(decode_state::<State>(&bytes).unwrap(), state);
        }

        #[test]
        fn prop_a_cut_or_any_bytes_are_no_panic(
            state in state(), cut in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let whole = encode_state(&state).unwrap();
            prop_assert!(decode_state::<State>(&whole[..cut.index(whole.len())]).is_err());
            if let Ok(state) = decode_state::<State>(&bytes) {
                prop_assert!(encode_state(&state).is_ok());
            }
        }
    }
}
