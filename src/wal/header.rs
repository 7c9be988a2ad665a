//! The file header of a log.
//!
//! ```text
//!  offset  size  field
//!       0     8  magic                 93 64 66 77 61 6c 0d 0a  (0x93 "dfwal" CR LF)
//!       8     4  format version        u32  1
//!      12     4  header length         u32  bytes, checksum included
//!      16     4  flags                 u32  0; a reader refuses a flag it does not know
//!      20     4  segment               u32  0 for the first file of a log
//!      24     8  first seq             u64  number of the first event in this file, 1 in segment 0
//!      32     8  seed                  u64  the scenario's
//!      40    16  event schema          fingerprint of the record types
//!      56    32  scenario digest       SHA-256
//!      88    16  previous digest       event digest of the segment before, zeros in segment 0
//!     104     2  tool version length   u16  bytes, at most 64
//!     106     2  drill length          u16  bytes, at most 64
//!     108     n  tool version          UTF-8
//!       .     n  drill                 UTF-8
//!       .     4  checksum              u32  CRC-32C over everything before it
//! ```
//!
//! Source: specs/log-format.md, section Log header.

use crc_fast::crc32_iscsi;
use drillfold_kernel::units::Seq;

use super::digest::{Digest128, Digest256};
use super::error::{AppendError, HeaderError, HeaderFault};
use super::fields::Fields;

/// The first bytes of a log. A byte past ASCII and a line end of two bytes show transfers that change text.
pub const LOG_MAGIC: [u8; 8] = *b"\x93dfwal\r\n";

/// Version of the log's format that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Largest tool version, drill name or component name, bytes of UTF-8, inclusive.
pub const TEXT_SIZE_BYTES_MAX: usize = 64;

/// Where magic, format version and header length end. These have the same place in every version of both formats.
const PREAMBLE_SIZE_BYTES: usize = 16;

const CHECKSUM_SIZE_BYTES: usize = 4;

/// Largest header of any kind, bytes, inclusive.
pub(super) const HEADER_SIZE_BYTES_MAX: usize = 64 * 1024;

/// What a log says about itself before its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHeader {
    /// Which file of the log this is, from 0.
    pub segment: u32,
    /// Number of the first event in this file; 1 in segment 0.
    pub first_seq: Seq,
    /// The scenario's seed. Provenance only: the log replays without it.
    pub seed: u64,
    /// Fingerprint of the record types, [`super::event_schema_fingerprint`] of the build that wrote it.
    pub event_schema: Digest128,
    /// SHA-256 of the scenario the run came from.
    pub scenario_digest: Digest256,
    /// Event digest of the segment before this one; zeros in segment 0.
    pub previous_digest: Digest128,
    /// Version of the tool that wrote the log, at most [`TEXT_SIZE_BYTES_MAX`] bytes.
    pub tool_version: String,
    /// Name of the drill, at most [`TEXT_SIZE_BYTES_MAX`] bytes.
    pub drill: String,
}

impl LogHeader {
    /// Returns the header of a log's first file, written by this build.
    pub fn first(drill: &str, seed: u64, scenario_digest: Digest256, tool_version: &str) -> Self {
        Self {
            segment: 0,
            first_seq: Seq(1),
            seed,
            event_schema: super::event_schema_fingerprint(),
            scenario_digest,
            previous_digest: Digest128::ZERO,
            tool_version: tool_version.to_string(),
            drill: drill.to_string(),
        }
    }

    /// Returns the header's bytes.
    ///
    /// # Errors
    ///
    /// [`AppendError::TextTooLong`]; [`AppendError::Invalid`] for a first sequence number or a previous digest that
    /// does not fit the segment.
    pub fn encode(&self) -> Result<Vec<u8>, AppendError> {
        if let Some(field) = self.misfit() {
            return Err(AppendError::Invalid { what: field, found: self.first_seq.0 });
        }
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&self.segment.to_le_bytes());
        body.extend_from_slice(&self.first_seq.0.to_le_bytes());
        body.extend_from_slice(&self.seed.to_le_bytes());
        body.extend_from_slice(&self.event_schema.0);
        body.extend_from_slice(&self.scenario_digest.0);
        body.extend_from_slice(&self.previous_digest.0);
        body.extend_from_slice(&text_length("tool version", &self.tool_version)?.to_le_bytes());
        body.extend_from_slice(&text_length("drill name", &self.drill)?.to_le_bytes());
        body.extend_from_slice(self.tool_version.as_bytes());
        body.extend_from_slice(self.drill.as_bytes());
        seal_header(LOG_MAGIC, FORMAT_VERSION, &body)
    }

    /// Reads the header at the start of `bytes` and returns it with its size in bytes. `file` is named in errors.
    ///
    /// # Errors
    ///
    /// [`HeaderError`]. An event schema that this build does not know is no error here, so that damage can be looked
    /// for in any log; [`LogHeader::require_known_schema`] is asked before payloads are decoded.
    pub fn decode(file: &str, bytes: &[u8]) -> Result<(Self, usize), HeaderError> {
        let failed = |fault| HeaderError { file: file.to_string(), fault };
        let opened = open_header("log", LOG_MAGIC, FORMAT_VERSION, bytes).map_err(failed)?;
        let header = Self::from_fields(opened.body).ok_or_else(|| failed(HeaderFault::Invalid { field: "layout" }))?;
        match header.misfit() {
            Some(field) => Err(failed(HeaderFault::Invalid { field })),
            None => Ok((header, opened.size_bytes)),
        }
    }

    /// Checks that this build can decode the payloads of this log's events.
    ///
    /// # Errors
    ///
    /// [`HeaderFault::UnknownEventSchema`].
    pub fn require_known_schema(&self, file: &str) -> Result<(), HeaderError> {
        if super::is_known_event_schema(self.event_schema) {
            return Ok(());
        }
        let fault =
            HeaderFault::UnknownEventSchema { found: self.event_schema, own: super::event_schema_fingerprint() };
        Err(HeaderError { file: file.to_string(), fault })
    }

    fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let segment = fields.u32()?;
        let first_seq = Seq(fields.u64()?);
        let seed = fields.u64()?;
        let event_schema = Digest128(fields.array()?);
        let scenario_digest = Digest256(fields.array()?);
        let previous_digest = Digest128(fields.array()?);
        let tool_version_length = usize::from(fields.u16()?);
        let drill_length = usize::from(fields.u16()?);
        if tool_version_length > TEXT_SIZE_BYTES_MAX || drill_length > TEXT_SIZE_BYTES_MAX {
            return None;
        }
        let tool_version = fields.text(tool_version_length)?.to_string();
        let drill = fields.text(drill_length)?.to_string();
        fields.end()?;
        Some(Self { segment, first_seq, seed, event_schema, scenario_digest, previous_digest, tool_version, drill })
    }

    /// Returns the field that does not fit the segment number, if there is one.
    fn misfit(&self) -> Option<&'static str> {
        let first = self.segment == 0;
        if self.first_seq.0 == 0 || (first && self.first_seq != Seq(1)) {
            return Some("first sequence number");
        }
        (first && self.previous_digest != Digest128::ZERO).then_some("previous digest")
    }
}

/// A header whose magic, version, length, flags and checksum are right.
pub(super) struct OpenedHeader<'a> {
    /// Everything between the flags and the checksum.
    pub(super) body: Fields<'a>,
    /// Size of the whole header, bytes.
    pub(super) size_bytes: usize,
}

/// Puts magic, version, length and checksum around `body`, which begins with the flags.
pub(super) fn seal_header(magic: [u8; 8], version: u32, body: &[u8]) -> Result<Vec<u8>, AppendError> {
    let size_bytes = PREAMBLE_SIZE_BYTES + body.len() + CHECKSUM_SIZE_BYTES;
    if size_bytes > HEADER_SIZE_BYTES_MAX {
        return Err(AppendError::Invalid { what: "size of the header", found: size_bytes as u64 });
    }
    let mut bytes = Vec::with_capacity(size_bytes);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(size_bytes as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    let checksum = crc32_iscsi(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    assert!(bytes.len() == size_bytes);
    Ok(bytes)
}

/// Checks what is common to the headers of logs and traces.
pub(super) fn open_header<'a>(
    expected: &'static str,
    magic: [u8; 8],
    version: u32,
    bytes: &'a [u8],
) -> Result<OpenedHeader<'a>, HeaderFault> {
    let incomplete =
        |needed: usize| HeaderFault::Incomplete { needed_bytes: needed as u64, found_bytes: bytes.len() as u64 };
    let begins_alike = bytes.iter().zip(&magic).all(|(found, magic)| found == magic);
    if !begins_alike {
        return Err(HeaderFault::OtherFile { expected });
    }
    let mut preamble = Fields::new(bytes);
    let (Some(_), Some(found), Some(size_bytes)) = (preamble.array::<8>(), preamble.u32(), preamble.u32()) else {
        return Err(incomplete(PREAMBLE_SIZE_BYTES));
    };
    // The version comes before everything else: another one may have another layout, and another checksum.
    if found != version {
        return Err(HeaderFault::OtherVersion { found, supported: version });
    }
    let size_bytes = size_bytes as usize;
    if !(PREAMBLE_SIZE_BYTES + CHECKSUM_SIZE_BYTES..=HEADER_SIZE_BYTES_MAX).contains(&size_bytes) {
        return Err(HeaderFault::Invalid { field: "length" });
    }
    let Some(header) = bytes.get(..size_bytes) else {
        return Err(incomplete(size_bytes));
    };
    let (checked, stored) = header.split_at(size_bytes - CHECKSUM_SIZE_BYTES);
    let (expected, found) = (Fields::new(stored).u32().unwrap_or_default(), crc32_iscsi(checked));
    if expected != found {
        return Err(HeaderFault::Checksum { expected, found });
    }
    let mut body = Fields::new(&checked[PREAMBLE_SIZE_BYTES..]);
    match body.u32() {
        Some(0) => Ok(OpenedHeader { body, size_bytes }),
        Some(flags) => Err(HeaderFault::UnknownFlags { flags }),
        None => Err(HeaderFault::Invalid { field: "layout" }),
    }
}

/// Returns the length of a header's text, if it is not too long.
pub(super) fn text_length(field: &'static str, text: &str) -> Result<u16, AppendError> {
    let size_bytes_max = TEXT_SIZE_BYTES_MAX;
    match u16::try_from(text.len()) {
        Ok(length) if text.len() <= size_bytes_max => Ok(length),
        Ok(_) | Err(_) => Err(AppendError::TextTooLong { field, size_bytes: text.len(), size_bytes_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> LogHeader {
        LogHeader {
            segment: 0,
            first_seq: Seq(1),
            seed: 0x0102_0304_0506_0708,
            event_schema: Digest128([0xaa; 16]),
            scenario_digest: Digest256([0xbb; 32]),
            previous_digest: Digest128::ZERO,
            tool_version: "0.1.0".to_string(),
            drill: "market_data_stale".to_string(),
        }
    }

    /// Encodes `bytes` again with a right checksum after `change`.
    fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = header().encode().unwrap();
        bytes.truncate(bytes.len() - CHECKSUM_SIZE_BYTES);
        change(&mut bytes);
        let checksum = crc32_iscsi(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], expected: &str) {
        let refused = LogHeader::decode("x.wal", bytes).unwrap_err().to_string();
        assert!(refused.starts_with("x.wal: ") && refused.contains(expected), "{refused}");
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let bytes = header().encode().unwrap();
        assert_eq!(bytes.len(), 108 + 5 + 17 + 4);
        assert_eq!(bytes[..8], [0x93, 0x64, 0x66, 0x77, 0x61, 0x6c, 0x0d, 0x0a]);
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(bytes[12..16], [134, 0, 0, 0]);
        assert_eq!(bytes[16..24], [0; 8]);
        assert_eq!(bytes[24..32], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[32..40], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[40..56], [0xaa; 16]);
        assert_eq!(bytes[56..88], [0xbb; 32]);
        assert_eq!(bytes[88..104], [0; 16]);
        assert_eq!(bytes[104..108], [5, 0, 17, 0]);
        assert_eq!(&bytes[108..130], b"0.1.0market_data_stale");
    }

    #[test]
    fn a_header_comes_back_and_what_follows_is_left() {
        let mut later = header();
        (later.segment, later.first_seq, later.previous_digest) = (3, Seq(77), Digest128([1; 16]));
        (later.tool_version, later.drill) = (String::new(), "é".repeat(TEXT_SIZE_BYTES_MAX / 2));
        for header in [header(), later] {
            let mut bytes = header.encode().unwrap();
            let size_bytes = bytes.len();
            bytes.extend_from_slice(b"records");
            assert_eq!(LogHeader::decode("x.wal", &bytes).unwrap(), (header, size_bytes));
        }
    }

    #[test]
    fn every_cut_and_every_flip_is_seen() {
        let bytes = header().encode().unwrap();
        for cut in 0..bytes.len() {
            check_refused(&bytes[..cut], "ends inside its header");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(LogHeader::decode("x.wal", &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn each_mismatch_is_named() {
        check_refused(b"{\"status\": 1}", "not a log");
        check_refused(b"\x93dfwal\n", "not a log");
        check_refused(&forged(|bytes| bytes[8] = 2), "format version 2, this build reads 1");
        check_refused(&forged(|bytes| bytes[12] = 3), "length is not valid");
        check_refused(&forged(|bytes| bytes[15] = 3), "length is not valid");
        check_refused(&forged(|bytes| bytes[16] = 4), "features 0x00000004");
        check_refused(&forged(|bytes| bytes[24] = 2), "first sequence number is not valid");
        check_refused(&forged(|bytes| bytes[88] = 2), "previous digest is not valid");
        check_refused(&forged(|bytes| bytes[104] = 6), "layout is not valid");
        check_refused(&forged(|bytes| bytes[104] = 4), "layout is not valid");
        check_refused(&forged(|bytes| bytes[110] = 0xff), "layout is not valid");
    }

    #[test]
    fn what_no_reader_accepts_is_not_written() {
        let mut long = header();
        long.drill = "x".repeat(TEXT_SIZE_BYTES_MAX + 1);
        let refused = long.encode().unwrap_err().to_string();
        assert_eq!(refused, "drill name has 65 bytes, of which at most 64 are allowed");
        let mut gap = header();
        gap.first_seq = Seq(2);
        assert!(gap.encode().is_err());
    }

    #[test]
    fn an_unknown_event_schema_is_refused_only_before_decoding() {
        let (header, _) = LogHeader::decode("x.wal", &header().encode().unwrap()).unwrap();
        let refused = header.require_known_schema("x.wal").unwrap_err();
        assert!(matches!(refused.fault, HeaderFault::UnknownEventSchema { .. }), "{refused}");
        LogHeader::first("d", 1, Digest256::default(), "0").require_known_schema("x.wal").unwrap();
    }
}
