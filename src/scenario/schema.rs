//! The JSON Schema of scenario files, for editors.

use schemars::generate::SchemaSettings;

use super::raw;

/// Returns the schema (draft 2020-12) as pretty-printed JSON with a line feed at the end, as it stands in
/// `specs/scenario.schema.json`.
///
/// It says what the shape of the tables is; what the rules ask beyond that is in `specs/scenarios.md`.
#[must_use]
pub fn scenario_schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<raw::Scenario>();
    let value = schema.to_value();
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    const UPDATE: &str = "DRILLFOLD_UPDATE_SCHEMA";

    /// Run with `DRILLFOLD_UPDATE_SCHEMA=1` to write the file anew.
    #[test]
    fn committed_schema_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/scenario.schema.json");
        let current = scenario_schema();
        if env::var_os(UPDATE).is_some_and(|value| value == "1") {
            fs::write(&path, &current).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == current, "specs/scenario.schema.json is old: run this test with {UPDATE}=1");
    }

    fn accepts(text: &str) -> bool {
        let schema: serde_json::Value = serde_json::from_str(&scenario_schema()).unwrap();
        let document: toml::Value = toml::from_str(text).unwrap();
        let document = serde_json::to_value(document).unwrap();
        jsonschema::validator_for(&schema).unwrap().is_valid(&document)
    }

    #[test]
    fn schema_accepts_and_rejects_as_the_parser_does() {
        let good = super::super::template("sample");
        assert!(accepts(&good));
        assert!(super::super::parse("sample.toml", &good).is_ok());
        for (from, to) in [
            ("seed = 1", "seed = -1"),
            ("seed = 1", "sead = 1"),
            ("title = ", "titel = "),
            ("duration = \"40s\"", "duration = 40"),
            ("duration = \"40s\"", "duration = \"40\""),
            ("ws_stale_threshold_ms", "ws_stale_treshold_ms"),
            ("do.stop_market_data", "do.stop_marketdata"),
            ("do.stop_market_data = {}", "do.stop_market_data = { now = true }"),
            ("do.stop_market_data = {}", "do.drop_trades = { instrument = \"BTC-PERPETUAL\", count = -1 }"),
            ("trigger = true", "trigger = 1"),
            ("[[expect]]", "[[expects]]"),
            ("sometimes = ", "never = 'true'\nsometimes = "),
            ("sometimes = ", "somtimes = "),
            ("public = [\"2ms\", \"12ms\"]", "public = [\"2ms\"]"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(!accepts(&bad), "{to}");
            assert!(super::super::parse("sample.toml", &bad).is_err(), "{to}");
        }
        for (from, to) in [
            ("seed = 1", "seed = \"0xffffffffffffffff\""),
            ("do.stop_market_data = {}", "do.operator.kill = {}"),
            ("do.stop_market_data = {}", "do.lose_rest = {}"),
            ("do.stop_market_data = {}", "do.set_disk = { primary = \"0.93\", secondary = 0.93 }"),
        ] {
            let other = good.replacen(from, to, 1);
            assert!(accepts(&other), "{to}");
            if let Err(errors) = super::super::parse("sample.toml", &other) {
                panic!("{to}: {errors}");
            }
        }
    }
}
