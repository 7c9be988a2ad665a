//! Known-answer vectors of intent hashes and labels, computed with another implementation of the hash.

use drillfold_kernel::{
    identity::{Fields, intent_hash, label, parse_label},
    units::{Price, Qty, Side},
};
use serde_json::Value;

#[test]
fn at_218_intent_hashes_and_labels_are_the_committed_ones() {
    let document: Value = serde_json::from_str(include_str!("../../../../specs/vectors/intent_hash.json")).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 7);
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap();
        let fields = Fields {
            instrument: text("instrument"),
            side: if text("side") == "buy" { Side::Buy } else { Side::Sell },
            qty: Qty(vector["qty_nano"].as_i64().unwrap()),
            price: Price(vector["price_nano"].as_i64().unwrap()),
            group_id: text("group_id"),
            leg: u16::try_from(vector["leg"].as_u64().unwrap()).unwrap(),
        };
        let hash = intent_hash(&fields);
        assert_eq!(format!("{:016x}", hash.0), text("intent_hash"), "{vector}");
        let built = label("drillfld", fields.group_id, fields.leg, hash).unwrap();
        assert_eq!(built, text("label"));
        if !fields.group_id.is_empty() {
            assert_eq!(parse_label(&built).unwrap().intent, hash);
        }
    }
}
