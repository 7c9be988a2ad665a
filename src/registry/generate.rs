//! Rust source from a registry.

use std::fmt::Write as _;

use crate::lock::digest;
use crate::manifest::{Enumeration, Registry, Shown, Token};

/// Returns the Rust variant name of a token.
///
/// Tokens of capitals and underscores become camel case (`KILL_RISKSTATE_KILL` gives `KillRiskstateKill`, `PASS` gives
/// `Pass`); tokens that already have small letters stay as they are (`LiquidityGateNoL2`).
#[must_use]
pub fn variant_name(code: &str) -> String {
    if code.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return code.split('_').collect();
    }
    let mut name = String::with_capacity(code.len());
    for part in code.split('_') {
        let mut chars = part.chars();
        name.extend(chars.next());
        name.extend(chars.map(|c| c.to_ascii_lowercase()));
    }
    name
}

/// Returns the source of the registry's enums and constants, for a `no_std` crate that depends on `serde`.
///
/// Each enum is fieldless, one byte wide, in registry order, and serialises as its token in text formats. It has
/// `ALL`, `token`, `from_token`, `index`, `from_index`, `text`, and what the manifest says beyond that. The registry
/// must have passed [`crate::check()`]; one that has not may give source that does not compile.
#[must_use]
pub fn generate_rust(registry: &Registry) -> String {
    let mut out = String::new();
    constants(&mut out, registry);
    for Enumeration { name, values } in &registry.enumerations {
        let summary = match name.as_str() {
            "TradingMode" => "What may be dispatched.",
            "RiskState" => "The cause layer: derived from the set of active causes.",
            "F1CertState" => "State of the certificate that allows a build to open risk.",
            "Profile" => "Set of rules that a build enforces.",
            "DeploymentEnvironment" => "Where a build runs; it never changes the trading mode.",
            _ => "A registry of the manifest.",
        };
        open_enum(&mut out, name, summary, values);
        text_fn(&mut out, "text", "Returns what the value means, in one sentence.", values);
        out.push_str("}\n\n");
    }
    tier(&mut out);

    let tokens: Vec<Token> = registry.mode_reasons.iter().map(|reason| reason.token.clone()).collect();
    open_enum(&mut out, "ModeReason", "Why the trading mode is Kill or ReduceOnly, in the order of emission.", &tokens);
    text_fn(&mut out, "text", "Returns what the reason means, in one sentence.", &tokens);
    match_fn(
        &mut out,
        "tier",
        "Tier",
        "Returns the tier: the mode that the reason explains.",
        &pairs(&tokens, registry.mode_reasons.iter().map(|r| format!("Tier::{}", r.tier.name()))),
    );
    match_fn(
        &mut out,
        "latched",
        "bool",
        "Tells whether clearing it needs an explicit act or proof.",
        &pairs(&tokens, registry.mode_reasons.iter().map(|r| r.latched.to_string())),
    );
    unblock_fns(
        &mut out,
        &tokens,
        &registry.mode_reasons.iter().map(|r| (r.unblock.name(), r.condition.as_str())).collect::<Vec<_>>(),
        &registry.mode_reasons.iter().map(|r| r.shown.as_ref()).collect::<Vec<_>>(),
    );
    out.push_str("}\n\n");

    let tokens: Vec<Token> = registry.open_permission_reasons.iter().map(|reason| reason.token.clone()).collect();
    open_enum(
        &mut out,
        "OpenPermissionReason",
        "Why the open-permission latch is set, in the order of emission.",
        &tokens,
    );
    text_fn(&mut out, "text", "Returns what the reason means, in one sentence.", &tokens);
    unblock_fns(
        &mut out,
        &tokens,
        &registry.open_permission_reasons.iter().map(|r| (r.unblock.name(), r.condition.as_str())).collect::<Vec<_>>(),
        &registry.open_permission_reasons.iter().map(|r| r.shown.as_ref()).collect::<Vec<_>>(),
    );
    out.push_str("}\n\n");

    open_enum(&mut out, "RejectReason", "Why one intent was refused before dispatch.", &registry.reject_reasons);
    text_fn(&mut out, "text", "Returns what the reason means, in one sentence.", &registry.reject_reasons);
    out.push_str("}\n\n");

    open_enum(&mut out, "OwnerReason", "What an owner is told first, most severe first.", &registry.owner_reasons);
    text_fn(&mut out, "message", "Returns the sentence that the owner reads.", &registry.owner_reasons);
    out.push_str("}\n\n");

    out.push_str(
        "/// Tells whether a token is a known reason: of a mode, of the open-permission latch, or of a refusal.\n\
         #[must_use]\n\
         pub fn is_known_reason_token(token: &str) -> bool {\n    \
             ModeReason::from_token(token).is_some()\n        \
                 || OpenPermissionReason::from_token(token).is_some()\n        \
                 || RejectReason::from_token(token).is_some()\n\
         }\n",
    );
    out
}

fn constants(out: &mut String, registry: &Registry) {
    put(out, format_args!("/// Version of the contract that every token belongs to."));
    put(out, format_args!("pub const CONTRACT_VERSION: &str = {:?};\n", registry.contract_version));
    put(out, format_args!("/// Digest of the registry's tokens, bound to the contract version."));
    put(out, format_args!("pub const REGISTRY_DIGEST: &str = {:?};\n", digest(registry)));
    put(out, format_args!("/// Keys that every `/status` document carries, in document order."));
    let keys = &registry.csp_minimum_keys;
    put(out, format_args!("pub const CSP_MINIMUM_KEYS: [&str; {}] = [", keys.len()));
    for key in keys {
        put(out, format_args!("    {key:?},"));
    }
    put(out, format_args!("];\n"));
}

fn tier(out: &mut String) {
    out.push_str(
        "/// The tier of a mode reason: the trading mode that it explains.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         pub enum Tier {\n    \
             /// Reasons of Kill.\n    \
             Kill,\n    \
             /// Reasons of ReduceOnly.\n    \
             ReduceOnly,\n\
         }\n\n",
    );
}

/// Writes an enum with its common functions and leaves its `impl` block open.
fn open_enum(out: &mut String, name: &str, summary: &str, values: &[Token]) {
    let count = values.len();
    put(out, format_args!("#[doc = {summary:?}]"));
    put(
        out,
        format_args!(
            "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]"
        ),
    );
    put(out, format_args!("#[repr(u8)]\npub enum {name} {{"));
    for value in values {
        put(out, format_args!("    #[doc = {:?}]", value.text));
        put(out, format_args!("    #[serde(rename = {:?})]", value.code));
        put(out, format_args!("    {},", variant_name(&value.code)));
    }
    put(out, format_args!("}}\n\nimpl {name} {{"));

    put(out, format_args!("    /// All values in registry order."));
    put(out, format_args!("    pub const ALL: [Self; {count}] = ["));
    for value in values {
        put(out, format_args!("        Self::{},", variant_name(&value.code)));
    }
    put(out, format_args!("    ];"));

    match_fn(
        out,
        "token",
        "&'static str",
        "Returns the token as it stands in documents.",
        &pairs(values, values.iter().map(|value| format!("{:?}", value.code))),
    );

    put(out, format_args!("\n    /// Returns the value of a token, or `None` if the registry has no such token."));
    put(out, format_args!("    #[must_use]\n    pub fn from_token(token: &str) -> Option<Self> {{"));
    put(out, format_args!("        match token {{"));
    for value in values {
        put(out, format_args!("            {:?} => Some(Self::{}),", value.code, variant_name(&value.code)));
    }
    put(out, format_args!("            _ => None,\n        }}\n    }}"));

    put(out, format_args!("\n    /// Returns the place in registry order, counted from 0."));
    put(out, format_args!("    #[must_use]\n    pub const fn index(self) -> usize {{\n        self as usize\n    }}"));

    put(out, format_args!("\n    /// Returns the value at a place in registry order, or `None` past the last."));
    put(out, format_args!("    #[must_use]\n    pub const fn from_index(index: u8) -> Option<Self> {{"));
    put(out, format_args!("        match index {{"));
    for (index, value) in values.iter().enumerate() {
        put(out, format_args!("            {index} => Some(Self::{}),", variant_name(&value.code)));
    }
    put(out, format_args!("            _ => None,\n        }}\n    }}"));
}

fn text_fn(out: &mut String, name: &str, summary: &str, values: &[Token]) {
    let arms = pairs(values, values.iter().map(|value| format!("{:?}", value.text)));
    match_fn(out, name, "&'static str", summary, &arms);
}

fn unblock_fns(out: &mut String, tokens: &[Token], unblock: &[(&str, &str)], shown: &[Option<&Shown>]) {
    match_fn(
        out,
        "unblock",
        "&'static str",
        "Returns who lifts it: `AUTO`, the system itself, or `MANUAL`, a person.",
        &pairs(tokens, unblock.iter().map(|(kind, _)| format!("{kind:?}"))),
    );
    match_fn(
        out,
        "condition",
        "&'static str",
        "Returns when it is lifted; names of configuration keys stand for their values.",
        &pairs(tokens, unblock.iter().map(|(_, condition)| format!("{condition:?}"))),
    );
    match_fn(
        out,
        "target",
        "&'static str",
        "Returns what the shown keys have to become; empty if other tokens speak in its place.",
        &pairs(tokens, shown.iter().map(|shown| format!("{:?}", shown.map_or("", |s| s.target.as_str())))),
    );
    match_fn(
        out,
        "owner",
        "Option<OwnerReason>",
        "Returns the owner's code before other keys are looked at; `None` if other tokens speak in its place.",
        &pairs(
            tokens,
            shown.iter().map(|shown| match shown {
                Some(shown) => format!("Some(OwnerReason::{})", variant_name(&shown.owner)),
                None => "None".to_owned(),
            }),
        ),
    );
    match_fn(
        out,
        "shows",
        "&'static [&'static str]",
        "Returns the `/status` keys whose values an owner is shown, in order.",
        &pairs(tokens, shown.iter().map(|shown| format!("&{:?}", shown.map_or(&[][..], |s| s.shows.as_slice())))),
    );
}

fn pairs(tokens: &[Token], values: impl Iterator<Item = String>) -> Vec<(String, String)> {
    tokens.iter().map(|token| variant_name(&token.code)).zip(values).collect()
}

/// Writes a constant function that maps each variant to an expression; variants of one value share an arm.
fn match_fn(out: &mut String, name: &str, returns: &str, summary: &str, arms: &[(String, String)]) {
    let mut grouped: Vec<(&str, Vec<&str>)> = Vec::new();
    for (variant, value) in arms {
        match grouped.iter_mut().find(|(known, _)| known == value) {
            Some((_, variants)) => variants.push(variant),
            None => grouped.push((value, vec![variant])),
        }
    }
    put(out, format_args!("\n    /// {summary}\n    #[must_use]\n    pub const fn {name}(self) -> {returns} {{"));
    put(out, format_args!("        match self {{"));
    for (value, variants) in grouped {
        let pattern: Vec<String> = variants.iter().map(|variant| format!("Self::{variant}")).collect();
        put(out, format_args!("            {} => {value},", pattern.join(" | ")));
    }
    put(out, format_args!("        }}\n    }}"));
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::MANIFEST;

    #[test]
    fn variant_names() {
        let cases = [
            ("KILL_WATCHDOG_HEARTBEAT_STALE", "KillWatchdogHeartbeatStale"),
            ("WS_BOOK_GAP_RECONCILE_REQUIRED", "WsBookGapReconcileRequired"),
            ("REDUCEONLY_F1_CERT_INVALID", "ReduceonlyF1CertInvalid"),
            ("LiquidityGateNoL2", "LiquidityGateNoL2"),
            ("ReduceOnly", "ReduceOnly"),
            ("PASS", "Pass"),
        ];
        for (code, expected) in cases {
            assert_eq!(variant_name(code), expected);
        }
    }

    #[test]
    fn source_is_stable_and_names_every_token() {
        let registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        let source = generate_rust(&registry);
        assert_eq!(source, generate_rust(&registry));
        for (list, codes) in registry.lists() {
            for code in codes {
                assert!(source.contains(&format!("#[serde(rename = \"{code}\")]")), "{list} {code}");
            }
        }
        assert!(!source.contains("std::"));
    }

    #[test]
    fn texts_cannot_break_out_of_their_literals() {
        let mut registry = Registry::parse(MANIFEST).expect("the committed manifest is read");
        registry.reject_reasons[0].text = "\"] fn evil() {} #[doc = \"\\".to_owned();
        let source = generate_rust(&registry);
        assert!(source.contains(r#"#[doc = "\"] fn evil() {} #[doc = \"\\"]"#));
    }
}
