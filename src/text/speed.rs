//! How fast time passes, as people write it.

use std::str::FromStr;

/// How fast simulated or recorded time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many of its seconds a second; never 0.
    Times(u32),
    /// As fast as it goes.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    /// Reads a whole number from 1, or `max`; the error says that.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times > 0 => Ok(Self::Times(times)),
            Ok(_) | Err(_) => Err("give a whole number from 1, or max".to_owned()),
        }
    }
}
