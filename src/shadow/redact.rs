//! Keeping secrets out of whatever is kept.
//!
//! A secret is found in two ways: by the name of the field it is in, at any depth of a frame's JSON, and by its value, wherever it
//! stands. Names catch what nobody knew before (the tokens of an answer), values catch what is in an unexpected place. Both look
//! through JSON's escapes and into texts that hold JSON themselves. Where neither way leaves a text without a known secret, nothing
//! of it is kept.
//!
//! A text in which nothing is found stays as it is, byte for byte.

use std::{borrow::Cow, fmt};

/// What stands in a secret's place.
const MASK: &str = "[redacted]";

/// What is kept of a text that can't be cleaned.
const NOTHING_KEPT: &str = "\"[redacted: a frame with a secret in it]\"";

/// Names of fields whose values are never kept, in lower case.
const SECRET_FIELDS: [&str; 12] = [
    "access_token",
    "api_key",
    "api_secret",
    "authorization",
    "client_id",
    "client_secret",
    "client_signature",
    "password",
    "refresh_token",
    "secret",
    "signature",
    "token",
];

/// Shortest secret, characters: a shorter one would be found in innocent texts.
const SECRET_LENGTH_MIN: usize = 8;

/// Secrets that are known at a time; each authentication brings two, so old ones have run out long before.
const SECRETS_MAX: usize = 64;

/// How deep texts in texts are looked into.
const DEPTH_MAX: u32 = 4;

/// A text that is shown nowhere: its debug output says nothing, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Keeps a text from being shown.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text, for who sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why something can't be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is shorter than what can be told apart from other texts, so it could not be redacted.
    #[error(
        "is shorter than {SECRET_LENGTH_MIN} characters, so that it could not be told apart from other texts; check it"
    )]
    TooShort,
}

/// An id with its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The client's id; treated as a secret too.
    pub id: Secret,
    /// Its secret.
    pub secret: Secret,
}

impl Secret {
    /// Takes a credential.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn credential(text: String) -> Result<Self, SecretError> {
        if text.chars().count() < SECRET_LENGTH_MIN { Err(SecretError::TooShort) } else { Ok(Self(text)) }
    }
}

/// Takes secrets out of texts.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// Returns one that knows the credentials.
    #[must_use]
    pub fn new(credentials: Option<&Credentials>) -> Self {
        let secrets = credentials.into_iter().flat_map(|of| [of.id.clone(), of.secret.clone()]).collect();
        Self { secrets }
    }

    /// Learns a secret: from now on it is redacted by its value. One that is too short for that is left to its field's name.
    pub fn learn(&mut self, secret: Secret) {
        if secret.0.chars().count() < SECRET_LENGTH_MIN || self.secrets.contains(&secret) {
            return;
        }
        if self.secrets.len() == SECRETS_MAX {
            // The first two are the credentials, which never run out.
            self.secrets.remove(2);
        }
        self.secrets.push(secret);
    }

    /// Returns a text without secrets.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let is_plain = !text.contains('\\') && !self.holds_secret(text) && !names_secret(text);
        if is_plain {
            return Cow::Borrowed(text);
        }
        let cleaned = self.without_values(&self.clean(text, DEPTH_MAX));
        if self.holds_hidden_secret(&cleaned) {
            return Cow::Borrowed(NOTHING_KEPT);
        }
        if cleaned == text { Cow::Borrowed(text) } else { Cow::Owned(cleaned) }
    }

    fn holds_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret.expose()))
    }

    /// True where a secret shows once escapes are taken off, as often as it takes.
    fn holds_hidden_secret(&self, text: &str) -> bool {
        let mut text = Cow::Borrowed(text);
        loop {
            if self.holds_secret(&text) {
                return true;
            }
            // Each round shortens the text, so there is a last one.
            match text.contains('\\') {
                true => {
                    let next = unescaped(&text);
                    if next.len() >= text.len() {
                        return false;
                    }
                    text = Cow::Owned(next);
                }
                false => return false,
            }
        }
    }

    fn without_values(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose()) {
                clean = clean.replace(secret.expose(), MASK);
            }
        }
        clean
    }

    /// Copies a text that is JSON, or something like it, without what its texts and named fields hold of secrets.
    fn clean(&self, text: &str, depth: u32) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('"') {
            let (before, from) = rest.split_at(at);
            clean.push_str(before);
            let (token, behind) = from.split_at(string_size_bytes(from));
            let inner = token.strip_prefix('"').unwrap_or(token);
            let content = unescaped(inner.strip_suffix('"').unwrap_or(inner));
            clean.push_str(&self.clean_token(token, &content, depth));
            rest = behind;
            let spaced = behind.trim_start();
            let Some(value) = spaced.strip_prefix(':').filter(|_| is_secret_field(&content)) else { continue };
            let value = value.trim_start();
            clean.push_str(":\"");
            clean.push_str(MASK);
            clean.push('"');
            rest = value.get(value_size_bytes(value)..).unwrap_or_default();
        }
        clean.push_str(rest);
        clean
    }

    /// Returns a text of a frame, as it stands there, without secrets.
    fn clean_token<'t>(&self, token: &'t str, content: &str, depth: u32) -> Cow<'t, str> {
        let mut clean = self.without_values(content);
        if let Some(depth) = depth.checked_sub(1)
            && clean.contains('"')
        {
            clean = self.clean(&clean, depth);
        }
        if clean == content {
            return Cow::Borrowed(token);
        }
        Cow::Owned(serde_json::Value::String(clean).to_string())
    }
}

/// True where a text names a field of a secret, in letters of any case.
fn names_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    SECRET_FIELDS.iter().any(|name| lower.contains(name))
}

fn is_secret_field(name: &str) -> bool {
    SECRET_FIELDS.iter().any(|field| name.trim().eq_ignore_ascii_case(field))
}

/// Returns the size of a text in quotes at the beginning of `text`, quotes included; all of it where none ends it.
fn string_size_bytes(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the size of the JSON value at the beginning of `text`; all of it where none ends it.
fn value_size_bytes(text: &str) -> usize {
    match text.bytes().next() {
        Some(b'"') => string_size_bytes(text),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (0_usize, 0_usize);
            while let Some(byte) = text.as_bytes().get(at) {
                match byte {
                    b'"' => {
                        at = at.saturating_add(text.get(at..).map_or(1, string_size_bytes));
                        continue;
                    }
                    b'{' | b'[' => depth = depth.saturating_add(1),
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at = at.saturating_add(1);
                if depth == 0 {
                    return at;
                }
            }
            text.len()
        }
        Some(_) | None => text.find([',', '}', ']']).unwrap_or(text.len()),
    }
}

/// Takes one layer of JSON's escapes off a text; what is no escape stays as it is.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let escape = from.get(1..).unwrap_or_default();
        let Some(letter) = escape.chars().next() else {
            plain.push('\\');
            return plain;
        };
        rest = escape.get(letter.len_utf8()..).unwrap_or_default();
        match letter {
            'n' => plain.push('\n'),
            't' => plain.push('\t'),
            'r' => plain.push('\r'),
            'b' => plain.push('\u{8}'),
            'f' => plain.push('\u{c}'),
            'u' => match code_point(rest) {
                Some((point, size_bytes)) => {
                    plain.push(point);
                    rest = rest.get(size_bytes..).unwrap_or_default();
                }
                None => plain.push_str("\\u"),
            },
            other => plain.push(other),
        }
    }
    plain.push_str(rest);
    plain
}

/// Reads the digits behind `\u`, with those of a second half where it takes one; returns the character and their size.
fn code_point(digits: &str) -> Option<(char, usize)> {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let first = unit(digits)?;
    if let Some(point) = char::from_u32(first.into()) {
        return Some((point, 4));
    }
    let second = unit(digits.get(4..)?.strip_prefix("\\u")?)?;
    let point = char::decode_utf16([first, second]).next()?.ok()?;
    Some((point, 10))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "id-Qx7-\"\\é/42";
    const KEY: &str = "zK9secretKEYvalue";

    fn redactor() -> Redactor {
        let secret = |text: &str| Secret::credential(text.to_owned()).unwrap();
        Redactor::new(Some(&Credentials { id: secret(ID), secret: secret(KEY) }))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(redactor().redact(text), expected, "{text}");
    }

    #[test]
    fn fields_are_redacted_by_name_at_any_depth() {
        check(
            r#"{"a":{"access_token":"x.y"},"b":[{"Client_Secret" : 12.5},1]}"#,
            r#"{"a":{"access_token":"[redacted]"},"b":[{"Client_Secret":"[redacted]"},1]}"#,
        );
        check(
            r#"{"refresh_token":{"a":["}",2],"b":3},"n":0.084155}"#,
            r#"{"refresh_token":"[redacted]","n":0.084155}"#,
        );
        check(r#"{"access\u005ftoken":"x"}"#, r#"{"access\u005ftoken":"[redacted]"}"#);
        check(r#"{"m":"{\"access_token\":\"x\"}"}"#, r#"{"m":"{\"access_token\":\"[redacted]\"}"}"#);
        check(r#"{"access_token":"cut of"#, r#"{"access_token":"[redacted]""#);
        check(r#"{"access_token":"#, r#"{"access_token":"[redacted]""#);
    }

    #[test]
    fn secrets_are_redacted_by_value_wherever_they_stand() {
        check(&format!(r#"{{"note":"it is {KEY}!"}}"#), r#"{"note":"it is [redacted]!"}"#);
        check(&format!(r#"{{"{KEY}":1}}"#), r#"{"[redacted]":1}"#);
        check(&format!("garbage {KEY}"), "garbage [redacted]");
        check(r#"{"note":"\u007aK9secretKEYvalue"}"#, r#"{"note":"[redacted]"}"#);
        check(r#"garbage \u007aK9secretKEYvalue"#, NOTHING_KEPT);
        let escaped = serde_json::to_string(&format!("x{ID}")).unwrap();
        check(&format!("[{escaped}]"), r#"["x[redacted]"]"#);
    }

    #[test]
    fn what_has_no_secret_stays_as_it_is() {
        for text in [
            r#"{"method":"subscription","params":{"channel":"book.X.raw","data":{"bids":[["new",0.0795,4.0]]}}}"#,
            r#"{"a":"\u00e9\/\\ \"quoted\" "}"#,
            "{not json \\",
            "",
        ] {
            assert!(matches!(redactor().redact(text), Cow::Borrowed(found) if found == text), "{text}");
        }
    }

    #[test]
    fn tokens_are_learned_and_credentials_never_forgotten() {
        let mut redactor = redactor();
        redactor.learn(Secret::new("short".to_owned()));
        for number in 0..200 {
            redactor.learn(Secret::new(format!("token-{number:04}")));
        }
        assert_eq!(redactor.secrets.len(), SECRETS_MAX);
        let text = format!("short {KEY} token-0199 token-0000");
        assert_eq!(redactor.redact(&text), "short [redacted] [redacted] token-0000");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let credentials = Credentials { id: Secret::new(ID.to_owned()), secret: Secret::new(KEY.to_owned()) };
        let shown = format!("{credentials:?} {:?}", Redactor::new(Some(&credentials)));
        assert!(!shown.contains("Qx7") && !shown.contains(KEY), "{shown}");
        assert_eq!(Secret::credential("1234567".to_owned()), Err(SecretError::TooShort));
    }

    /// A JSON value with a text somewhere in it.
    fn holding(text: String) -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::String(text)),
            any::<i32>().prop_map(serde_json::Value::from),
            "[a-z\"\\\\é]{0,6}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,4}|token|client_secret", inner), 0..4)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Writes every character of a text as an escape.
    fn all_escaped(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
    }

    proptest! {
        #[test]
        fn prop_no_secret_is_left_in_any_json(
            value in holding(format!("a{KEY}b")),
            nested in any::<bool>(),
            escaped in any::<bool>(),
        ) {
            let mut text = value.to_string();
            if nested {
                text = serde_json::Value::String(text).to_string();
            }
            if escaped {
                text = text.replace(KEY, &all_escaped(KEY));
            }
            let redactor = redactor();
            let clean = redactor.redact(&text);
            prop_assert!(!redactor.holds_hidden_secret(&clean), "{clean}");
            prop_assert!(serde_json::from_str::<serde_json::Value>(&clean).is_ok(), "{text} became {clean}");
        }

        #[test]
        fn prop_no_secret_is_left_in_any_text(before in "\\PC{0,12}", after in "[\"\\\\{}\\[\\],:a-z]{0,12}", twice in any::<bool>()) {
            let secret = if twice { all_escaped(KEY).replace('\\', "\\\\") } else { ID.to_owned() };
            let redactor = redactor();
            let text = format!("{before}{secret}{after}");
            let clean = redactor.redact(&text);
            prop_assert!(!redactor.holds_hidden_secret(&clean), "{clean}");
        }
    }
}
