//! The expression language of expectations, snapshot conditions and `bisect --when`.
//!
//! An expression is a formula over named values, such as `trading_mode != "Active" && wal_queue_depth > 1000`. Its grammar
//! is in `specs/expressions.md`.
//!
//! **Invariants.** Every expression is checked when it is parsed: all names are known and all types fit, so that an
//! evaluation has an answer for every state. Numbers are exact: integers in 1e-9, never binary floats; sums saturate.
//! Nothing panics, neither on any text nor on any value, and both the length and the depth of an expression are bounded.
//! Names are places in the caller's table, so that an evaluation looks up no text; it is done after every event.
//!
//! **What it does not do.** It has no variables, loops or time: what happens over a range of events is the expectation's
//! matter. It does not know which tokens exist; [`Expr::mentions`] lists the texts for a caller that does.

use std::{collections::BTreeMap, fmt, ops::Range};

use thiserror::Error;

use crate::text::{
    decimal::{self, DecimalError, NANO_DIGITS, Rounding},
    nearest::suggestion,
};

/// Longest expression in bytes.
pub const LENGTH_MAX: usize = 4096;

/// Deepest nesting of parentheses, signs and negations.
pub const DEPTH_MAX: usize = 64;

/// What kind of value a name or an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// True or false.
    Bool,
    /// An exact number.
    Number,
    /// A number, or null where there is none.
    NumberOrNull,
    /// A text.
    Text,
    /// A text, or null where there is none.
    TextOrNull,
    /// A list of texts.
    List,
    /// The literal `null`; no name has this type.
    Null,
}

impl Type {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::NumberOrNull => "a number or null",
            Self::Text => "a text",
            Self::TextOrNull => "a text or null",
            Self::List => "a list of texts",
            Self::Null => "null",
        }
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Number | Self::NumberOrNull)
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::TextOrNull)
    }

    const fn has_null(self) -> bool {
        matches!(self, Self::NumberOrNull | Self::TextOrNull | Self::Null)
    }

    const fn equals(self, other: Self) -> bool {
        match (self, other) {
            (Self::Bool, Self::Bool) | (Self::List, Self::List) => true,
            (Self::Null, other) => other.has_null(),
            (own, Self::Null) => own.has_null(),
            (own, other) => (own.is_number() && other.is_number()) || (own.is_text() && other.is_text()),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// An exact number in 1e-9; sums are held at the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(i128);

impl Number {
    /// Returns the number for a count or a time in its own unit.
    #[must_use]
    pub const fn whole(value: i64) -> Self {
        Self(value as i128 * 1_000_000_000)
    }

    /// Returns the number for a value in parts per million.
    #[must_use]
    pub const fn ppm(value: i64) -> Self {
        Self(value as i128 * 1_000)
    }

    /// Returns the number for a value in 1e-9: a price, an amount or coins.
    #[must_use]
    pub const fn nano(value: i64) -> Self {
        Self(value as i128)
    }

    /// Returns the number in 1e-9.
    #[must_use]
    pub const fn as_nano(self) -> i128 {
        self.0
    }

    /// Returns the sum, held at the limits.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the difference, held at the limits.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Returns the number with its sign turned, held at the limits.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal::plain(self.0, NANO_DIGITS))
    }
}

/// What a name or an expression is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// There is no value.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(&'a str),
    /// A list of texts, in its own order.
    List(Vec<&'a str>),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(texts) => f.write_str(&list(texts.iter().copied())),
        }
    }
}

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Expr {
    node: Node,
    result: Type,
    names: BTreeMap<usize, String>,
    mentions: Vec<Mention>,
}

/// Two expressions are equal if they compute the same thing in the same way; where it stood in the text counts nothing.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node && self.names == other.names
    }
}

/// A text that an expression compares a name with, for checks against a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The name it is compared with.
    pub name: String,
    /// The text.
    pub text: String,
    /// Where the text stands, in bytes of the expression, quotes included.
    pub span: Range<usize>,
}

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct ExprError {
    /// What is wrong.
    pub kind: ExprErrorKind,
    /// Where, in bytes of the expression; never outside it, never inside a character.
    pub span: Range<usize>,
    /// The expression.
    pub text: String,
}

/// What is wrong with an expression; the author corrects the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExprErrorKind {
    /// There is nothing in it.
    #[error("empty expression")]
    Empty,
    /// It is longer than [`LENGTH_MAX`].
    #[error("expression longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// It is nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// A character that begins nothing.
    #[error("unexpected character {0:?}")]
    UnexpectedCharacter(char),
    /// A text without closing quote.
    #[error("text without closing quote")]
    OpenText,
    /// A backslash before anything but a quote or a backslash.
    #[error(r#"unknown escape, expected \" or \' or \\"#)]
    UnknownEscape,
    /// A number that can't be kept.
    #[error("number is {0}")]
    BadNumber(DecimalError),
    /// A name that is not known.
    #[error("unknown name `{name}`{suggestion}")]
    UnknownName {
        /// The name.
        name: String,
        /// The nearest known one in words, or nothing.
        suggestion: String,
    },
    /// A text that the name it is compared with never is.
    #[error("`{name}` is never {text:?}{suggestion}")]
    NeverSo {
        /// The name.
        name: String,
        /// The text.
        text: String,
        /// The nearest possible one in words, or nothing.
        suggestion: String,
    },
    /// A function that is not known.
    #[error("unknown function `{0}`, expected `contains` or `len`")]
    UnknownFunction(String),
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What should stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// `a < b < c`.
    #[error("comparisons can't be chained; join them with `&&`")]
    Chained,
    /// A part has the wrong type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What it must be.
        expected: Type,
        /// What it is.
        found: Type,
    },
    /// Two things that are never equal by type.
    #[error("can't compare {left} with {right}")]
    NotComparable {
        /// Type on the left.
        left: Type,
        /// Type on the right.
        right: Type,
    },
}

impl ExprError {
    /// Returns message, line and a mark below the place, for people.
    #[must_use]
    pub fn rendered(&self) -> String {
        let begin = self.text.get(..self.span.start).unwrap_or_default();
        let line_start = begin.rfind('\n').map_or(0, |place| place + 1);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let indent = begin.get(line_start..).unwrap_or_default().chars().count();
        let marked = self.text.get(self.span.clone()).unwrap_or_default();
        let width = marked.lines().next().unwrap_or_default().chars().count().max(1);
        // A tab keeps its width in the line of the mark only if it is one there, too.
        let pad: String = line.chars().take(indent).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{}\n  {line}\n  {pad}{}", self.kind, "^".repeat(width))
    }
}

impl Expr {
    /// Parses and checks an expression; `known` are the names with their types, and [`Self::eval`] asks by place in it.
    ///
    /// # Errors
    /// The first thing that is wrong: syntax, an unknown name (with the nearest known one), a type that does not fit.
    pub fn parse(text: &str, known: &[(&str, Type)]) -> Result<Self, ExprError> {
        let failed = |(kind, span): Fault| ExprError { kind, span, text: text.to_owned() };
        if text.len() > LENGTH_MAX {
            return Err(failed((ExprErrorKind::TooLong, 0..0)));
        }
        let tokens = tokens(text).map_err(failed)?;
        let mut parser = Parser {
            tokens: &tokens,
            place: 0,
            depth: 0,
            end: text.len(),
            known,
            names: BTreeMap::new(),
            mentions: Vec::new(),
        };
        if tokens.is_empty() {
            return Err(failed((ExprErrorKind::Empty, 0..0)));
        }
        let whole = parser.any().map_err(failed)?;
        if parser.place < tokens.len() {
            return Err(failed(parser.unexpected("an operator or the end")));
        }
        Ok(Self { node: whole.node, result: whole.result, names: parser.names, mentions: parser.mentions })
    }

    /// As [`Self::parse`], for an expression whose result must be true or false.
    ///
    /// # Errors
    /// As [`Self::parse`]; a result of another type as well.
    pub fn parse_condition(text: &str, known: &[(&str, Type)]) -> Result<Self, ExprError> {
        Self::parse(text, known)?.expect(text, Type::Bool, |result| result == Type::Bool)
    }

    /// As [`Self::parse`], for an expression whose result must be a number, possibly null.
    ///
    /// # Errors
    /// As [`Self::parse`]; a result of another type as well.
    pub fn parse_number(text: &str, known: &[(&str, Type)]) -> Result<Self, ExprError> {
        Self::parse(text, known)?.expect(text, Type::Number, Type::is_number)
    }

    /// Returns what it computes.
    #[must_use]
    pub const fn result(&self) -> Type {
        self.result
    }

    /// Returns the names it asks for, by place in the table it was parsed with.
    pub fn names(&self) -> impl Iterator<Item = (usize, &str)> {
        self.names.iter().map(|(place, name)| (*place, name.as_str()))
    }

    /// Returns the texts that it compares names with, in the order of the expression.
    #[must_use]
    pub fn mentions(&self) -> &[Mention] {
        &self.mentions
    }

    /// Computes the value; `value_of` answers by place in the table of names it was parsed with.
    ///
    /// Null: a sum with null is null, an ordering with null does not hold, null equals null alone. A value of another type
    /// than the table promised counts as null where a number is needed, and as false where a boolean is.
    #[must_use]
    pub fn eval<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> Value<'a> {
        self.node.eval(value_of)
    }

    /// Tells whether it holds; false for a result that is no boolean.
    #[must_use]
    pub fn holds<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> bool {
        self.node.holds(value_of)
    }

    /// Computes the number; `None` for null and for a result that is no number.
    #[must_use]
    pub fn number<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> Option<Number> {
        self.node.number(value_of)
    }

    fn expect(self, text: &str, expected: Type, fits: fn(Type) -> bool) -> Result<Self, ExprError> {
        if fits(self.result) {
            return Ok(self);
        }
        Err(ExprError {
            kind: ExprErrorKind::WrongType { expected, found: self.result },
            span: 0..text.len(),
            text: text.to_owned(),
        })
    }
}

/// Writes the expression with the fewest parentheses; parsing it again gives the same expression.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.write(f, &self.names, Strength::Any)
    }
}

/// A part of an expression.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<String>),
    Name(usize),
    Not(Box<Node>),
    Negated(Box<Node>),
    /// Two parts or more.
    All(Vec<Node>),
    /// Two parts or more.
    Any(Vec<Node>),
    Compared(Comparison, Box<(Node, Node)>),
    /// A first part and one or more that are added or taken away.
    Sum(Box<Node>, Vec<(Sign, Node)>),
    Contains(Box<Node>, String),
    Length(Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    const ALL: [Self; 6] =
        [Self::Equal, Self::NotEqual, Self::Less, Self::LessOrEqual, Self::Greater, Self::GreaterOrEqual];

    const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    fn holds(self, left: Number, right: Number) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Node {
    fn eval<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> Value<'a> {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::List(texts) => Value::List(texts.iter().map(String::as_str).collect()),
            Self::Name(place) => value_of(*place),
            Self::Negated(_) | Self::Sum(..) | Self::Length(_) => {
                self.number(value_of).map_or(Value::Null, Value::Number)
            }
            Self::Bool(_) | Self::Not(_) | Self::All(_) | Self::Any(_) | Self::Compared(..) | Self::Contains(..) => {
                Value::Bool(self.holds(value_of))
            }
        }
    }

    fn holds<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Name(place) => value_of(*place) == Value::Bool(true),
            Self::Not(inner) => !inner.holds(value_of),
            Self::All(parts) => parts.iter().all(|part| part.holds(value_of)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(value_of)),
            Self::Compared(comparison, sides) => {
                let left = sides.0.eval(value_of);
                match (comparison, left, sides.1.eval(value_of)) {
                    (comparison, Value::Number(left), Value::Number(right)) => comparison.holds(left, right),
                    (Comparison::Equal, left, right) => left == right,
                    (Comparison::NotEqual, left, right) => left != right,
                    (
                        Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual,
                        _,
                        _,
                    ) => false,
                }
            }
            Self::Contains(list, text) => match list.eval(value_of) {
                Value::List(texts) => texts.contains(&text.as_str()),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => false,
            },
            Self::Null
            | Self::Number(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Negated(_)
            | Self::Sum(..)
            | Self::Length(_) => false,
        }
    }

    fn number<'a>(&'a self, value_of: &impl Fn(usize) -> Value<'a>) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(place) => match value_of(*place) {
                Value::Number(number) => Some(number),
                Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) => None,
            },
            Self::Negated(inner) => inner.number(value_of).map(Number::negated),
            Self::Sum(first, rest) => {
                let mut sum = first.number(value_of)?;
                for (sign, part) in rest {
                    let part = part.number(value_of)?;
                    sum = match sign {
                        Sign::Plus => sum.plus(part),
                        Sign::Minus => sum.minus(part),
                    };
                }
                Some(sum)
            }
            Self::Length(list) => match list.eval(value_of) {
                Value::List(texts) => Some(Number::whole(i64::try_from(texts.len()).unwrap_or(i64::MAX))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
            },
            Self::Null
            | Self::Bool(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Not(_)
            | Self::All(_)
            | Self::Any(_)
            | Self::Compared(..)
            | Self::Contains(..) => None,
        }
    }

    const fn strength(&self) -> Strength {
        match self {
            Self::Any(_) => Strength::Any,
            Self::All(_) => Strength::All,
            Self::Compared(..) => Strength::Compared,
            Self::Sum(..) => Strength::Sum,
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Name(_)
            | Self::Not(_)
            | Self::Negated(_)
            | Self::Contains(..)
            | Self::Length(_) => Strength::Unary,
        }
    }

    /// Writes the part, in parentheses where it binds less strongly than `least`.
    fn write(&self, f: &mut fmt::Formatter<'_>, names: &BTreeMap<usize, String>, least: Strength) -> fmt::Result {
        if self.strength() < least {
            f.write_str("(")?;
            self.write(f, names, Strength::Any)?;
            return f.write_str(")");
        }
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], symbol: &str, least: Strength| {
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    f.write_str(symbol)?;
                }
                part.write(f, names, least)?;
            }
            Ok(())
        };
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(texts) => f.write_str(&list(texts.iter().map(String::as_str))),
            Self::Name(place) => f.write_str(names.get(place).map_or("?", String::as_str)),
            Self::Not(inner) => {
                f.write_str("!")?;
                inner.write(f, names, Strength::Unary)
            }
            Self::Negated(inner) => {
                f.write_str("-")?;
                inner.write(f, names, Strength::Unary)
            }
            Self::All(parts) => joined(f, parts, " && ", Strength::Compared),
            Self::Any(parts) => joined(f, parts, " || ", Strength::All),
            Self::Compared(comparison, sides) => {
                sides.0.write(f, names, Strength::Sum)?;
                write!(f, " {} ", comparison.symbol())?;
                sides.1.write(f, names, Strength::Sum)
            }
            Self::Sum(first, rest) => {
                first.write(f, names, Strength::Unary)?;
                for (sign, part) in rest {
                    f.write_str(match sign {
                        Sign::Plus => " + ",
                        Sign::Minus => " - ",
                    })?;
                    part.write(f, names, Strength::Unary)?;
                }
                Ok(())
            }
            Self::Contains(inner, text) => {
                f.write_str("contains(")?;
                inner.write(f, names, Strength::Any)?;
                write!(f, ", {})", quoted(text))
            }
            Self::Length(inner) => {
                f.write_str("len(")?;
                inner.write(f, names, Strength::Any)?;
                f.write_str(")")
            }
        }
    }
}

/// How strongly an operator binds, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Any,
    All,
    Compared,
    Sum,
    Unary,
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quoted).collect::<Vec<_>>().join(", "))
}

type Fault = (ExprErrorKind, Range<usize>);

#[derive(Clone, Debug, PartialEq)]
enum TokenKind {
    Word(String),
    Number(Number),
    Text(String),
    Symbol(&'static str),
}

#[derive(Clone, Debug)]
struct Token {
    kind: TokenKind,
    span: Range<usize>,
}

impl Token {
    fn found(&self) -> String {
        match &self.kind {
            TokenKind::Word(word) => format!("`{word}`"),
            TokenKind::Number(number) => format!("`{number}`"),
            TokenKind::Text(text) => quoted(text),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
        }
    }
}

/// Longer symbols stand before those that begin them.
const SYMBOLS: [&str; 15] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "(", ")", "[", "]"];

fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(first) = rest.chars().next()
    {
        let (kind, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let length =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(rest.len());
            let word = rest.get(..length).unwrap_or_default();
            // Names may begin with a digit (429_count_5m): only a word without any letter is a number.
            if first.is_ascii_digit() && !word.contains(|c: char| c.is_ascii_alphabetic()) {
                let digits = word.replace('_', "");
                let number = decimal::parse_wide(&digits, NANO_DIGITS, Rounding::Exact)
                    .map_err(|reason| (ExprErrorKind::BadNumber(reason), at..at + length))?;
                (TokenKind::Number(Number(number)), length)
            } else {
                (TokenKind::Word(word.to_owned()), length)
            }
        } else if matches!(first, '"' | '\'') {
            let (text, length) = quoted_text(rest, first, at)?;
            (TokenKind::Text(text), length)
        } else if first == ',' {
            (TokenKind::Symbol(","), 1)
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (TokenKind::Symbol(symbol), symbol.len())
        } else {
            let expected = match first {
                '=' => Some("`==`"),
                '&' => Some("`&&`"),
                '|' => Some("`||`"),
                _ => None,
            };
            let kind = expected.map_or(ExprErrorKind::UnexpectedCharacter(first), |expected| {
                ExprErrorKind::Unexpected { expected, found: format!("`{first}`") }
            });
            return Err((kind, at..at + first.len_utf8()));
        };
        tokens.push(Token { kind, span: at..at + length });
        at += length;
    }
    Ok(tokens)
}

/// Reads a text that begins with its quote; returns it and its length in bytes with both quotes.
fn quoted_text(rest: &str, quote: char, at: usize) -> Result<(String, usize), Fault> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((place, c)) = characters.next() {
        if c == quote {
            return Ok((text, place + 1));
        }
        if c != '\\' {
            text.push(c);
            continue;
        }
        match characters.next() {
            Some((_, escaped @ ('"' | '\'' | '\\'))) => text.push(escaped),
            Some((next, other)) => {
                return Err((ExprErrorKind::UnknownEscape, at + place..at + next + other.len_utf8()));
            }
            None => break,
        }
    }
    Err((ExprErrorKind::OpenText, at..at + rest.len()))
}

/// A parsed part with what its users need to know.
struct Part {
    node: Node,
    result: Type,
    span: Range<usize>,
    /// Where the texts of a literal stand.
    texts: Vec<(String, Range<usize>)>,
}

struct Parser<'a> {
    tokens: &'a [Token],
    place: usize,
    depth: usize,
    /// Length of the expression in bytes.
    end: usize,
    known: &'a [(&'a str, Type)],
    names: BTreeMap<usize, String>,
    mentions: Vec<Mention>,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Part, Fault> {
        self.joined("||", Self::all, Node::Any)
    }

    fn all(&mut self) -> Result<Part, Fault> {
        self.joined("&&", Self::compared, Node::All)
    }

    fn joined(
        &mut self,
        symbol: &'static str,
        part: fn(&mut Self) -> Result<Part, Fault>,
        node: fn(Vec<Node>) -> Node,
    ) -> Result<Part, Fault> {
        let first = part(self)?;
        if !self.at(symbol) {
            return Ok(first);
        }
        let start = first.span.start;
        let mut end = first.span.end;
        let mut nodes = vec![required(first, Type::Bool, |result| result == Type::Bool)?];
        while self.take(symbol) {
            let next = part(self)?;
            end = next.span.end;
            nodes.push(required(next, Type::Bool, |result| result == Type::Bool)?);
        }
        Ok(Part { node: node(nodes), result: Type::Bool, span: start..end, texts: Vec::new() })
    }

    fn compared(&mut self) -> Result<Part, Fault> {
        let left = self.sum()?;
        let Some(comparison) = self.comparison() else {
            return Ok(left);
        };
        let right = self.sum()?;
        let span = left.span.start..right.span.end;
        let chained = self.tokens.get(self.place).map(|token| token.span.clone());
        if self.comparison().is_some() {
            return Err((ExprErrorKind::Chained, chained.unwrap_or(span)));
        }
        let fits = match comparison {
            Comparison::Equal | Comparison::NotEqual => left.result.equals(right.result),
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
                left.result.is_number() && right.result.is_number()
            }
        };
        if !fits {
            return Err((ExprErrorKind::NotComparable { left: left.result, right: right.result }, span));
        }
        self.mention(&left, &right.texts);
        self.mention(&right, &left.texts);
        Ok(Part {
            node: Node::Compared(comparison, Box::new((left.node, right.node))),
            result: Type::Bool,
            span,
            texts: Vec::new(),
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        Comparison::ALL.into_iter().find(|comparison| self.take(comparison.symbol()))
    }

    fn sum(&mut self) -> Result<Part, Fault> {
        let first = self.unary()?;
        if !self.at("+") && !self.at("-") {
            return Ok(first);
        }
        let start = first.span.start;
        let mut end = first.span.end;
        let mut result = first.result;
        let first = required(first, Type::Number, Type::is_number)?;
        let mut rest = Vec::new();
        loop {
            let sign = if self.take("+") {
                Sign::Plus
            } else if self.take("-") {
                Sign::Minus
            } else {
                break;
            };
            let next = self.unary()?;
            end = next.span.end;
            if next.result == Type::NumberOrNull {
                result = Type::NumberOrNull;
            }
            rest.push((sign, required(next, Type::Number, Type::is_number)?));
        }
        Ok(Part { node: Node::Sum(Box::new(first), rest), result, span: start..end, texts: Vec::new() })
    }

    fn unary(&mut self) -> Result<Part, Fault> {
        let span = self.here();
        if self.depth >= DEPTH_MAX {
            return Err((ExprErrorKind::TooDeep, span));
        }
        self.depth += 1;
        let part = if self.take("!") {
            let inner = self.unary()?;
            let span = span.start..inner.span.end;
            let node = Node::Not(Box::new(required(inner, Type::Bool, |result| result == Type::Bool)?));
            Part { node, result: Type::Bool, span, texts: Vec::new() }
        } else if self.take("-") {
            let inner = self.unary()?;
            let (span, result) = (span.start..inner.span.end, inner.result);
            let node = match required(inner, Type::Number, Type::is_number)? {
                Node::Number(number) => Node::Number(number.negated()),
                other => Node::Negated(Box::new(other)),
            };
            Part { node, result, span, texts: Vec::new() }
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(part)
    }

    fn primary(&mut self) -> Result<Part, Fault> {
        let Some(token) = self.tokens.get(self.place).cloned() else {
            return Err(self.unexpected("a value"));
        };
        let span = token.span.clone();
        let literal = |node, result| Part { node, result, span: span.clone(), texts: Vec::new() };
        match token.kind {
            TokenKind::Number(number) => {
                self.place += 1;
                Ok(literal(Node::Number(number), Type::Number))
            }
            TokenKind::Text(text) => {
                self.place += 1;
                let texts = vec![(text.clone(), span.clone())];
                Ok(Part { node: Node::Text(text), result: Type::Text, span, texts })
            }
            TokenKind::Word(word) => {
                self.place += 1;
                match word.as_str() {
                    "true" => Ok(literal(Node::Bool(true), Type::Bool)),
                    "false" => Ok(literal(Node::Bool(false), Type::Bool)),
                    "null" => Ok(literal(Node::Null, Type::Null)),
                    _ if self.at("(") => self.call(&word, span),
                    _ => self.name(word, span),
                }
            }
            TokenKind::Symbol("(") => {
                self.place += 1;
                let inner = self.any()?;
                let end = self.close(")", "`)`")?;
                Ok(Part { span: span.start..end, ..inner })
            }
            TokenKind::Symbol("[") => self.list(span),
            TokenKind::Symbol(_) => Err(self.unexpected("a value")),
        }
    }

    fn name(&mut self, word: String, span: Range<usize>) -> Result<Part, Fault> {
        let found = self.known.iter().position(|(name, _)| *name == word);
        let Some((place, (_, result))) = found.and_then(|place| Some((place, self.known.get(place)?))) else {
            let suggestion = suggestion(&word, self.known.iter().map(|(name, _)| *name));
            return Err((ExprErrorKind::UnknownName { name: word, suggestion }, span));
        };
        self.names.insert(place, word);
        Ok(Part { node: Node::Name(place), result: *result, span, texts: Vec::new() })
    }

    fn call(&mut self, function: &str, span: Range<usize>) -> Result<Part, Fault> {
        if !matches!(function, "contains" | "len") {
            return Err((ExprErrorKind::UnknownFunction(function.to_owned()), span));
        }
        self.take("(");
        let list = self.any()?;
        if list.result != Type::List {
            return Err((ExprErrorKind::WrongType { expected: Type::List, found: list.result }, list.span));
        }
        if function == "len" {
            let end = self.close(")", "`)`")?;
            let node = Node::Length(Box::new(list.node));
            return Ok(Part { node, result: Type::Number, span: span.start..end, texts: Vec::new() });
        }
        self.close(",", "`,` and a text in quotes")?;
        let Some((text, place)) = self.text() else {
            return Err(self.unexpected("a text in quotes"));
        };
        let end = self.close(")", "`)`")?;
        self.mention(&list, &[(text.clone(), place)]);
        let node = Node::Contains(Box::new(list.node), text);
        Ok(Part { node, result: Type::Bool, span: span.start..end, texts: Vec::new() })
    }

    fn list(&mut self, span: Range<usize>) -> Result<Part, Fault> {
        self.place += 1;
        let mut texts = Vec::new();
        while let Some(text) = self.text() {
            texts.push(text);
            if !self.take(",") {
                break;
            }
        }
        let end = self.close("]", "a text in quotes or `]`")?;
        let node = Node::List(texts.iter().map(|(text, _)| text.clone()).collect());
        Ok(Part { node, result: Type::List, span: span.start..end, texts })
    }

    fn text(&mut self) -> Option<(String, Range<usize>)> {
        match self.tokens.get(self.place) {
            Some(Token { kind: TokenKind::Text(text), span }) => {
                self.place += 1;
                Some((text.clone(), span.clone()))
            }
            Some(_) | None => None,
        }
    }

    /// Notes the texts that a name is compared with.
    fn mention(&mut self, part: &Part, texts: &[(String, Range<usize>)]) {
        if let Node::Name(place) = &part.node
            && let Some(name) = self.names.get(place)
        {
            let mentions =
                texts.iter().map(|(text, span)| Mention { name: name.clone(), text: text.clone(), span: span.clone() });
            self.mentions.extend(mentions);
        }
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(self.tokens.get(self.place), Some(Token { kind: TokenKind::Symbol(found), .. }) if *found == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let there = self.at(symbol);
        if there {
            self.place += 1;
        }
        there
    }

    /// Takes a symbol that must stand here; returns where it ends.
    fn close(&mut self, symbol: &str, expected: &'static str) -> Result<usize, Fault> {
        let end = self.here().end;
        if self.take(symbol) { Ok(end) } else { Err(self.unexpected(expected)) }
    }

    fn here(&self) -> Range<usize> {
        self.tokens.get(self.place).map_or(self.end..self.end, |token| token.span.clone())
    }

    fn unexpected(&self, expected: &'static str) -> Fault {
        let found = self.tokens.get(self.place).map_or_else(|| "the end".to_owned(), Token::found);
        (ExprErrorKind::Unexpected { expected, found }, self.here())
    }
}

fn required(part: Part, expected: Type, fits: fn(Type) -> bool) -> Result<Node, Fault> {
    if fits(part.result) {
        Ok(part.node)
    } else {
        Err((ExprErrorKind::WrongType { expected, found: part.result }, part.span))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &[(&str, Type)] = &[
        ("trading_mode", Type::Text),
        ("wal_queue_depth", Type::Number),
        ("429_count_5m", Type::Number),
        ("mode_reasons", Type::List),
        ("latch", Type::Bool),
        ("expires_at", Type::NumberOrNull),
        ("note", Type::TextOrNull),
        ("mm_util", Type::Number),
    ];

    fn value_of<'a>(place: usize) -> Value<'a> {
        match place {
            0 => Value::Text("ReduceOnly"),
            1 => Value::Number(Number::whole(1024)),
            2 => Value::Number(Number::whole(3)),
            3 => Value::List(vec!["A", "B"]),
            4 => Value::Bool(true),
            7 => Value::Number(Number::ppm(700_001)),
            _ => Value::Null,
        }
    }

    fn eval(text: &str) -> String {
        match Expr::parse(text, KNOWN) {
            Ok(expr) => expr.eval(&value_of).to_string(),
            Err(error) => error.rendered(),
        }
    }

    #[test]
    fn expressions_have_their_values() {
        for (text, expected) in [
            (r#"trading_mode != "Active" && wal_queue_depth > 1000"#, "true"),
            ("trading_mode == 'ReduceOnly'", "true"),
            ("429_count_5m == 3", "true"),
            ("429_count_5m + 1 - 0.5", "3.5"),
            ("wal_queue_depth - 1_000 + 429_count_5m", "27"),
            ("1 - 2 - 3", "-4"),
            ("1 - (2 - 3)", "2"),
            ("- - 5", "5"),
            ("-wal_queue_depth", "-1024"),
            ("1 - -1", "2"),
            ("mm_util > 0.7", "true"),
            ("mm_util == 0.700001", "true"),
            ("mm_util <= 0.7", "false"),
            ("0.1 + 0.2 == 0.3", "true"),
            (r#"contains(mode_reasons, "A")"#, "true"),
            (r#"contains(["x", "y",], "z")"#, "false"),
            ("len(mode_reasons) == 2", "true"),
            ("len([])", "0"),
            (r#"mode_reasons == ["A", "B"]"#, "true"),
            (r#"mode_reasons == ["B", "A"]"#, "false"),
            ("mode_reasons != []", "true"),
            ("!latch || false", "false"),
            ("!!latch", "true"),
            ("latch == true", "true"),
            ("!latch == false", "true"),
            ("true || false && false", "true"),
            ("(true || false) && false", "false"),
            ("expires_at == null", "true"),
            ("expires_at != null", "false"),
            ("expires_at < 5", "false"),
            ("expires_at >= 5", "false"),
            ("expires_at == 5", "false"),
            ("expires_at != 5", "true"),
            ("expires_at + 1", "null"),
            ("note == null", "true"),
            (r#"note == "x""#, "false"),
            ("null == null", "true"),
            (r#""a\"b\\" == 'a"b\\'"#, "true"),
            ("  latch\n", "true"),
            ("99999999999999999999.5", "99999999999999999999.5"),
        ] {
            assert_eq!(eval(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_name_the_place() {
        for (text, expected) in [
            ("", "empty expression\n  \n  ^"),
            ("   ", "empty expression\n     \n  ^"),
            (
                "wal_queue_dept > 1",
                "unknown name `wal_queue_dept`; did you mean `wal_queue_depth`?\n  wal_queue_dept > 1\n  ^^^^^^^^^^^^^^",
            ),
            ("latch && nonsense", "unknown name `nonsense`\n  latch && nonsense\n           ^^^^^^^^"),
            ("latch = true", "expected `==`, found `=`\n  latch = true\n        ^"),
            ("latch & true", "expected `&&`, found `&`\n  latch & true\n        ^"),
            ("latch |", "expected `||`, found `|`\n  latch |\n        ^"),
            ("latch &&", "expected a value, found the end\n  latch &&\n          ^"),
            ("latch latch", "expected an operator or the end, found `latch`\n  latch latch\n        ^^^^^"),
            ("(latch", "expected `)`, found the end\n  (latch\n        ^"),
            ("latch)", "expected an operator or the end, found `)`\n  latch)\n       ^"),
            ("1 < 2 < 3", "comparisons can't be chained; join them with `&&`\n  1 < 2 < 3\n        ^"),
            ("1 && latch", "expected a boolean, found a number\n  1 && latch\n  ^"),
            ("latch + 1", "expected a number, found a boolean\n  latch + 1\n  ^^^^^"),
            ("!5", "expected a boolean, found a number\n  !5\n   ^"),
            ("latch == 5", "can't compare a boolean with a number\n  latch == 5\n  ^^^^^^^^^^"),
            ("latch < true", "can't compare a boolean with a boolean\n  latch < true\n  ^^^^^^^^^^^^"),
            ("trading_mode == null", "can't compare a text with null\n  trading_mode == null\n  ^^^^^^^^^^^^^^^^^^^^"),
            ("expires_at < null", "can't compare a number or null with null\n  expires_at < null\n  ^^^^^^^^^^^^^^^^^"),
            ("\"open", "text without closing quote\n  \"open\n  ^^^^^"),
            ("\"a\\n\"", "unknown escape, expected \\\" or \\' or \\\\\n  \"a\\n\"\n    ^^"),
            ("1.2.3", "number is not a decimal number\n  1.2.3\n  ^^^^^"),
            ("0.0000000001", "number is finer than 9 digits after the point\n  0.0000000001\n  ^^^^^^^^^^^^"),
            ("latch # x", "unexpected character '#'\n  latch # x\n        ^"),
            ("min(1)", "unknown function `min`, expected `contains` or `len`\n  min(1)\n  ^^^"),
            ("len(5)", "expected a list of texts, found a number\n  len(5)\n      ^"),
            (
                "contains(mode_reasons, A)",
                "expected a text in quotes, found `A`\n  contains(mode_reasons, A)\n                         ^",
            ),
            ("[1]", "expected a text in quotes or `]`, found `1`\n  [1]\n   ^"),
            ("latch &&\n\tä", "unexpected character 'ä'\n  \tä\n  \t^"),
        ] {
            assert_eq!(eval(text), expected, "{text}");
        }
    }

    #[test]
    fn results_are_checked() {
        assert!(Expr::parse_condition("latch", KNOWN).is_ok());
        assert!(Expr::parse_number("expires_at", KNOWN).is_ok());
        for (text, condition) in [("wal_queue_depth", true), ("latch", false), ("note", false)] {
            let parse = if condition { Expr::parse_condition } else { Expr::parse_number };
            let error = parse(text, KNOWN).unwrap_err();
            assert!(matches!(error.kind, ExprErrorKind::WrongType { .. }), "{text}");
            assert_eq!(error.span, 0..text.len());
        }
    }

    #[test]
    fn mentions_are_listed_with_their_places() {
        let text = r#"contains(mode_reasons, "A") || "x" == trading_mode || mode_reasons == ["B", "C"]"#;
        let expr = Expr::parse(text, KNOWN).unwrap();
        let found: Vec<_> = expr.mentions().iter().map(|m| (m.name.as_str(), &text[m.span.clone()])).collect();
        assert_eq!(
            found,
            [
                ("mode_reasons", "\"A\""),
                ("trading_mode", "\"x\""),
                ("mode_reasons", "\"B\""),
                ("mode_reasons", "\"C\"")
            ]
        );
        assert_eq!(expr.names().collect::<Vec<_>>(), [(0, "trading_mode"), (3, "mode_reasons")]);
    }

    #[test]
    fn sums_saturate_and_bounds_hold() {
        let huge = "99999999999999999999999999999";
        let sum = format!("{huge} + {huge} + {huge}");
        assert_eq!(Expr::parse(&sum, KNOWN).unwrap().number(&value_of), Some(Number(i128::MAX)));
        let deep = format!("{}latch{}", "(".repeat(100), ")".repeat(100));
        assert!(matches!(Expr::parse(&deep, KNOWN).unwrap_err().kind, ExprErrorKind::TooDeep));
        assert!(matches!(Expr::parse(&"!".repeat(4000), KNOWN).unwrap_err().kind, ExprErrorKind::TooDeep));
        assert!(matches!(Expr::parse(&" ".repeat(5000), KNOWN).unwrap_err().kind, ExprErrorKind::TooLong));
        let long = vec!["latch"; 500].join("&&");
        assert!(Expr::parse(&long, KNOWN).unwrap().holds(&value_of));
    }

    fn number() -> impl Strategy<Value = Node> {
        let list =
            prop_oneof![Just(Node::Name(3)), prop::collection::vec("[a-z\"\\\\ ]{0,3}", 0..3).prop_map(Node::List)];
        let leaf = prop_oneof![
            any::<i64>().prop_map(|value| Node::Number(Number::nano(value))),
            prop::sample::select(vec![1_usize, 2, 5, 7]).prop_map(Node::Name),
            list.prop_map(|list| Node::Length(Box::new(list))),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            let sign = prop_oneof![Just(Sign::Plus), Just(Sign::Minus)];
            prop_oneof![
                inner.clone().prop_map(|node| match node {
                    Node::Number(number) => Node::Number(number.negated()),
                    other => Node::Negated(Box::new(other)),
                }),
                (inner.clone(), prop::collection::vec((sign, inner), 1..4))
                    .prop_map(|(first, rest)| Node::Sum(Box::new(first), rest)),
            ]
        })
    }

    fn condition() -> impl Strategy<Value = Node> {
        let comparison = prop::sample::select(Comparison::ALL.to_vec());
        let leaf = prop_oneof![
            any::<bool>().prop_map(Node::Bool),
            Just(Node::Name(4)),
            "\\PC{0,4}".prop_map(|text| Node::Contains(Box::new(Node::Name(3)), text)),
            "\\PC{0,4}".prop_map(|text| Node::Compared(Comparison::Equal, Box::new((Node::Name(0), Node::Text(text))))),
            Just(Node::Compared(Comparison::NotEqual, Box::new((Node::Name(6), Node::Null)))),
            (comparison, number(), number())
                .prop_map(|(comparison, left, right)| Node::Compared(comparison, Box::new((left, right)))),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|node| Node::Not(Box::new(node))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Node::All),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Node::Any),
                (inner.clone(), inner).prop_map(|sides| Node::Compared(Comparison::Equal, Box::new(sides))),
            ]
        })
    }

    proptest! {
        #[test]
        fn prop_any_text_is_answered(text in "[a-z0-9_.&|!=<>+()\\[\\]\"', \\\\-]{0,60}|\\PC{0,30}") {
            match Expr::parse(&text, KNOWN) {
                Ok(expr) => { let _ = expr.eval(&value_of); }
                Err(error) => {
                    prop_assert!(text.get(error.span.clone()).is_some(), "{:?} in {:?}", error.span, text);
                    prop_assert!(!error.rendered().is_empty());
                }
            }
        }

        #[test]
        fn prop_words_in_any_order_are_answered(words in prop::collection::vec(prop::sample::select(vec![
            "latch", "429_count_5m", "mode_reasons", "trading_mode", "expires_at", "5", "0.5", "\"A\"", "null", "true",
            "&&", "||", "!", "==", "<", "+", "-", "(", ")", "[", "]", ",", "contains(", "len(",
        ]), 0..14)) {
            let text = words.join(" ");
            if let Ok(expr) = Expr::parse(&text, KNOWN) {
                let _ = expr.eval(&value_of);
                let printed = expr.to_string();
                prop_assert_eq!(Expr::parse(&printed, KNOWN).unwrap(), expr);
            }
        }

        #[test]
        fn prop_printing_then_parsing_is_identity(node in condition()) {
            let names = KNOWN.iter().enumerate().map(|(place, (name, _))| (place, (*name).to_owned())).collect();
            let expr = Expr { node, result: Type::Bool, names, mentions: Vec::new() };
            let printed = expr.to_string();
            let parsed = Expr::parse(&printed, KNOWN).map_err(|error| TestCaseError::fail(error.rendered()))?;
            prop_assert_eq!(parsed.node, expr.node, "{}", printed);
        }
    }
}
