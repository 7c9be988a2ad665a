//! The owner's page: three files that are part of the program. They need nothing but their server.

/// The page.
pub(super) const HTML: &str = include_str!("page/page.html");

/// How it looks.
pub(super) const CSS: &str = include_str!("page/page.css");

/// What it does: it reads the stream, checks each message itself, and shows it or says that the state is unknown.
pub(super) const SCRIPT: &str = include_str!("page/page.js");
