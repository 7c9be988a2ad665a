//! Maps whose keys are no texts, serialised as a list of pairs: the same bytes in a state image, and a form that JSON has.

use alloc::collections::BTreeMap;
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};

/// Serialises a map as its pairs, in order.
///
/// # Errors
/// The serialiser's own.
pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map)
}

/// Reads what [`serialize`] wrote; of two pairs with one key the later one holds.
///
/// # Errors
/// The deserialiser's own.
pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(Pairs(PhantomData))
}

struct Pairs<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Pairs<K, V> {
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pairs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = pairs.next_element()? {
            map.insert(key, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use serde_json::{json, value::Serializer};

    use super::*;

    #[test]
    fn a_map_comes_back_from_its_pairs() {
        let map = BTreeMap::from([(3_u8, true), (1, false)]);
        let pairs = json!([[1, false], [3, true]]);
        assert_eq!(serialize(&map, Serializer).unwrap(), pairs);
        assert_eq!(deserialize::<u8, bool, _>(pairs).unwrap(), map);
        let later: BTreeMap<u8, bool> = deserialize(json!([[1, false], [1, true]])).unwrap();
        assert_eq!(later, BTreeMap::from([(1, true)]));
        let wrong = deserialize::<u8, bool, _>(json!(1)).unwrap_err().to_string();
        assert!(wrong.contains("a list of pairs"), "{wrong}");
    }
}
