//! `drillfold validate`: the `/status` validator on a file or a live endpoint.
//!
//! Options and exit codes are those of the checklist's validator script. Source: contract 5.2, status document, the
//! validator; decisions 40 and 43.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fetch::{ANSWER_SIZE_BYTES_MAX, FetchError, checked_timeout, fetch, timeout_s};
use crate::contract::validator::{BuiltInSchema, Finding, Options, Validator, built_in_manifest, verdict_lines};

/// The document is valid.
pub const EXIT_VALID: u8 = 0;
/// The document was checked and is invalid.
pub const EXIT_INVALID: u8 = 1;
/// Nothing was checked: bad arguments, a missing or unreadable file, an endpoint that does not answer, no JSON.
pub const EXIT_UNCHECKED: u8 = 2;

/// Options of `drillfold validate`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["file", "url"]))]
pub struct ValidateArgs {
    /// Read the document from a file
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Fetch the document from an endpoint, directly and without following redirects
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// JSON Schema to use [default: the built-in minimum; with --strict the exact one]
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Reason-code manifest to use [default: the built-in one]
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Report keys that the schema does not define, as for golden documents
    #[arg(long)]
    pub strict: bool,
    /// Print nothing; the exit code tells
    #[arg(long)]
    pub quiet: bool,
    /// Seconds after which a fetch is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = timeout_s)]
    pub timeout: f64,
    /// Also compare owner_view with what the other keys derive (documents of this program's own builds only)
    #[arg(long)]
    pub derive_owner_view: bool,
}

/// Carries out `drillfold validate` and returns its exit code: [`EXIT_VALID`], [`EXIT_INVALID`] or
/// [`EXIT_UNCHECKED`].
///
/// Prints a line a finding, `[TAG] message`, and a last line `VALID name` or `INVALID name (n findings)`; or, if
/// nothing was checked, one line that says why. A reader that has gone away does not change the verdict.
pub fn validate(args: &ValidateArgs, out: &mut dyn Write) -> u8 {
    let (code, lines) = match judge(args) {
        Ok(findings) => {
            let code = if findings.is_empty() { EXIT_VALID } else { EXIT_INVALID };
            (code, verdict_lines(&source_name(args), &findings))
        }
        Err(reason) => (EXIT_UNCHECKED, vec![format!("error: {reason}")]),
    };
    if !args.quiet {
        for line in lines {
            if writeln!(out, "{line}").is_err() {
                break;
            }
        }
    }
    code
}

/// Why nothing was checked: a place and a sentence.
struct Unchecked(String);

impl fmt::Display for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn judge(args: &ValidateArgs) -> Result<Vec<Finding>, Unchecked> {
    let timeout = checked_timeout(args.timeout).map_err(Unchecked)?;
    let source = match (&args.file, &args.url) {
        (Some(file), None) => Source::File(file),
        (None, Some(url)) => Source::Url(url),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Unchecked("give exactly one of --file and --url".to_owned()));
        }
    };
    let built_in = |error: crate::contract::validator::ValidatorError| Unchecked(error.to_string());
    let schema = match &args.schema {
        Some(path) => read_json("schema", path)?,
        None => BuiltInSchema::for_strictness(args.strict).value().map_err(built_in)?,
    };
    let manifest = match &args.manifest {
        Some(path) => read_json("manifest", path)?,
        None => built_in_manifest().map_err(built_in)?,
    };
    let validator = Validator::new(&schema, &manifest).map_err(|error| Unchecked(error.to_string()))?;
    let document = match source {
        Source::File(path) => read_json("document", path)?,
        Source::Url(url) => {
            let bytes = fetch(url, timeout).map_err(|reason| Unchecked(format!("cannot fetch {url}: {reason}")))?;
            parse(&bytes).map_err(|reason| Unchecked(format!("answer of {url} is not JSON: {reason}")))?
        }
    };
    let options = Options { strict: args.strict, derive_owner_view: args.derive_owner_view };
    Ok(validator.validate(&document, options))
}

enum Source<'a> {
    File(&'a Path),
    Url(&'a str),
}

fn source_name(args: &ValidateArgs) -> String {
    match (&args.file, &args.url) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(url)) => url.clone(),
        (None, None) => "nothing".to_owned(),
    }
}

fn read_json(what: &str, path: &Path) -> Result<Value, Unchecked> {
    let shown = path.display();
    let bytes = read(path).map_err(|reason| Unchecked(format!("cannot read {what} {shown}: {reason}")))?;
    parse(&bytes).map_err(|reason| Unchecked(format!("{what} {shown} is not JSON: {reason}")))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // A file may be as large as an answer. One byte past the limit tells one that ends there from one that goes on.
    file.take(ANSWER_SIZE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > ANSWER_SIZE_BYTES_MAX {
        return Err(FetchError::TooLarge.to_string());
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::contract::validator::tests::active;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ValidateArgs,
    }

    fn run(args: &[&str]) -> (u8, String) {
        let mut out = Vec::new();
        let cli = match Cli::try_parse_from([&["validate"], args].concat()) {
            Ok(cli) => cli,
            Err(error) => {
                return (u8::try_from(error.exit_code()).expect("a small code"), error.to_string());
            }
        };
        let code = validate(&cli.args, &mut out);
        (code, String::from_utf8(out).expect("text"))
    }

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> String {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("the folder can be written");
        path.display().to_string()
    }

    #[test]
    fn verdicts_and_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let good = file(&dir, "good.json", &active().to_string());
        assert_eq!(run(&["--file", &good]), (0, format!("VALID {good}\n")));
        assert_eq!(run(&["--file", &good, "--strict", "--derive-owner-view"]), (0, format!("VALID {good}\n")));
        assert_eq!(run(&["--file", &good, "--quiet"]), (0, String::new()));

        let mut document = active();
        document["extra"] = json!(1);
        let extra = file(&dir, "extra.json", &document.to_string());
        assert_eq!(run(&["--file", &extra]).0, 0);
        let (code, text) = run(&["--file", &extra, "--strict"]);
        assert_eq!(code, 1);
        assert!(text.contains("\n[STRICT] $.extra"), "{text}");
        assert!(text.ends_with(&format!("INVALID {extra} (2 findings)\n")), "{text}");
        assert_eq!(run(&["--file", &extra, "--strict", "--quiet"]), (1, String::new()));
    }

    #[test]
    fn what_cannot_be_checked_is_2() {
        let dir = tempfile::tempdir().expect("a folder");
        let good = file(&dir, "good.json", &active().to_string());
        let torn = file(&dir, "torn.json", "{");
        let empty = file(&dir, "empty.json", "{}");
        let large = file(&dir, "large.json", &format!("{}{}", active(), " ".repeat(1024 * 1024)));
        let folder = dir.path().display().to_string();
        let cases: [(&[&str], &str); 11] = [
            (&[], "required"),
            (&["--file", &good, "--url", "http://localhost"], "cannot be used with"),
            (&["--file", "nowhere.json"], "error: cannot read document nowhere.json"),
            (&["--file", &folder], "error: cannot read document"),
            (&["--file", &torn], "is not JSON"),
            (&["--file", &large], "larger than 1048576 bytes"),
            (&["--file", &good, "--schema", "nowhere.json"], "error: cannot read schema nowhere.json"),
            (&["--file", &good, "--manifest", &torn], "error: manifest"),
            (&["--file", &good, "--manifest", &empty], "manifest field `contract_version`"),
            (&["--file", &good, "--timeout", "0"], "timeout must be above 0"),
            (&["--file", &good, "--timeout", "soon"], "not a number of seconds"),
        ];
        for (args, expected) in cases {
            let (code, text) = run(args);
            assert_eq!(code, 2, "{args:?}: {text}");
            assert!(text.contains(expected), "{args:?}: {text}");
        }
        assert_eq!(run(&["--file", "nowhere.json", "--quiet"]), (2, String::new()));
    }

    #[test]
    fn arguments_made_by_a_program_are_checked_too() {
        let mut args = Cli::try_parse_from(["validate", "--file", "x"]).expect("good arguments").args;
        args.url = Some("http://localhost".to_owned());
        let mut out = Vec::new();
        assert_eq!(validate(&args, &mut out), 2);
        args.url = None;
        args.timeout = f64::NAN;
        assert_eq!(validate(&args, &mut out), 2);
    }

    #[cfg(feature = "net")]
    mod net {
        use std::io::{Read as _, Write as _};
        use std::net::TcpListener;
        use std::thread;

        use super::*;

        /// Answers one request with the bytes given, then closes, and validates against it.
        fn against(answer: Vec<u8>) -> (u8, String) {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let url = format!("http://{}/api/v1/status", listener.local_addr().expect("an address"));
            let server = thread::spawn(move || {
                let (mut socket, _) = listener.accept().expect("a client");
                let mut request = Vec::new();
                let mut byte = [0; 1];
                while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
                    request.push(byte[0]);
                }
                // A client that has read enough may have gone.
                let _ = socket.write_all(&answer);
            });
            let result = run(&["--url", &url]);
            server.join().expect("the server ends");
            (result.0, result.1.replace(&url, "URL"))
        }

        fn answer(head: &str, body: &str) -> Vec<u8> {
            format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
        }

        #[test]
        fn answers_of_endpoints() {
            assert_eq!(against(answer("200 OK", &active().to_string())), (0, "VALID URL\n".to_owned()));
            assert_eq!(against(answer("200 OK", "[]")).0, 1);
            let unchecked = [
                (answer("200 OK", "<html>"), "answer of URL is not JSON"),
                (answer("200 OK", ""), "answer of URL is not JSON"),
                (answer("503 Service Unavailable", "{}"), "cannot fetch URL: HTTP status 503 where 200 is needed"),
                (answer("204 No Content", ""), "HTTP status 204"),
                (answer("302 Found\r\nlocation: /elsewhere", ""), "it redirects (HTTP 302)"),
                (answer("200 OK", &" ".repeat(1024 * 1024 + 1)), "larger than 1048576 bytes"),
                (answer("200 OK", &" ".repeat(1024 * 1024)), "is not JSON"),
                (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{}".to_vec(), "cannot fetch URL"),
                (b"what?\r\n\r\n".to_vec(), "cannot fetch URL"),
                (Vec::new(), "cannot fetch URL"),
            ];
            for (bytes, expected) in unchecked {
                let (code, text) = against(bytes);
                assert_eq!(code, 2, "{expected}: {text}");
                assert!(text.contains(expected), "{text} does not contain {expected}");
            }
        }

        #[test]
        fn endpoints_that_do_not_answer() {
            // Bound but never accepted: the connection stands and no answer comes.
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let url = format!("http://{}/", listener.local_addr().expect("an address"));
            let (code, text) = run(&["--url", &url, "--timeout", "0.2"]);
            assert_eq!(code, 2);
            assert!(text.contains("no complete answer within 0.2 seconds"), "{text}");
            drop(listener);
            assert_eq!(run(&["--url", &url]).0, 2);
            assert_eq!(run(&["--url", "not a url"]).0, 2);
            assert_eq!(run(&["--url", "ftp://localhost/"]).0, 2);
        }
    }
}
