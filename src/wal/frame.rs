//! One frame: the unit that is checksummed, in logs and traces alike.
//!
//! ```text
//!  offset  size  field
//!       0     4  checksum   u32  CRC-32C (Castagnoli) over every following byte of the frame
//!       4     4  length     u32  bytes of payload, 0 ..= 16 MiB
//!       8     2  kind       u16  what the payload is; never 0
//!      10     2  version    u16  version of that kind; never 0
//!      12     8  seq        u64  see the kind
//!      20     8  time_ms    i64  milliseconds since the epoch, on the run's clock
//!      28     n  payload
//! ```
//!
//! All integers are little-endian. The checksum stands first, so that what it covers is one run of bytes. A kind of 0
//! is invalid so that zeros, as a preallocated file has them, are never a frame.
//!
//! Source: specs/log-format.md, section Frames.

use std::ops::Range;

use crc_fast::crc32_iscsi;

use super::error::FrameFault;

const CHECKSUM: Range<usize> = 0..4;
const LENGTH: Range<usize> = 4..8;
const KIND: Range<usize> = 8..10;
const VERSION: Range<usize> = 10..12;
pub(super) const SEQ: Range<usize> = 12..20;
const TIME_MS: Range<usize> = 20..28;

/// Size of a frame without its payload, bytes.
pub const FRAME_HEADER_SIZE_BYTES: usize = 28;

/// Largest payload of a frame, bytes, inclusive. A frame that claims more is refused before anything is allocated.
pub const PAYLOAD_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most bytes that a search for frames behind damage checks in vain, so that hostile bytes can't make it slow.
pub(super) const SEARCH_CHECKED_BYTES_MAX: usize = 4 * (PAYLOAD_SIZE_BYTES_MAX + FRAME_HEADER_SIZE_BYTES);

const _: () = assert!(TIME_MS.end == FRAME_HEADER_SIZE_BYTES);
const _: () = assert!(PAYLOAD_SIZE_BYTES_MAX + FRAME_HEADER_SIZE_BYTES <= u32::MAX as usize);

/// The fields of a frame that its writer chooses, beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the payload is; not 0.
    pub kind: u16,
    /// Version of that kind, from 1.
    pub version: u16,
    /// Sequence number; its meaning depends on the kind.
    pub seq: u64,
    /// Milliseconds since the epoch, on the run's clock.
    pub time_ms: i64,
}

/// A whole, checked frame that borrows its payload from the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its fields.
    pub header: FrameHeader,
    /// Its payload.
    pub payload: &'a [u8],
    /// The bytes that its checksum covers: the frame behind its checksum field.
    pub(super) checked_bytes: &'a [u8],
}

impl Frame<'_> {
    /// Returns the size of the whole frame in bytes.
    pub fn size_bytes(&self) -> usize {
        FRAME_HEADER_SIZE_BYTES + self.payload.len()
    }
}

impl<'a> Frame<'a> {
    /// Returns the frame that lies in `bytes`, all of them, whose checksum was found right before.
    #[inline]
    pub(super) fn checked_before(header: FrameHeader, bytes: &'a [u8]) -> Self {
        Self { header, payload: &bytes[FRAME_HEADER_SIZE_BYTES..], checked_bytes: &bytes[CHECKSUM.end..] }
    }
}

/// Appends one frame to `out` and returns the part of it that its checksum covers, as a range of `out`.
///
/// # Errors
///
/// [`FrameFault::TooLong`] and [`FrameFault::KindZero`], for what no reader would accept; then `out` is unchanged.
pub fn encode_frame(header: &FrameHeader, payload: &[u8], out: &mut Vec<u8>) -> Result<Range<usize>, FrameFault> {
    if payload.len() > PAYLOAD_SIZE_BYTES_MAX {
        return Err(FrameFault::TooLong { length_bytes: payload.len() as u64 });
    }
    if header.kind == 0 || header.version == 0 {
        return Err(FrameFault::KindZero);
    }
    let length =
        u32::try_from(payload.len()).map_err(|_| FrameFault::TooLong { length_bytes: payload.len() as u64 })?;
    let start = out.len();
    let mut head = [0; FRAME_HEADER_SIZE_BYTES];
    head[LENGTH].copy_from_slice(&length.to_le_bytes());
    head[KIND].copy_from_slice(&header.kind.to_le_bytes());
    head[VERSION].copy_from_slice(&header.version.to_le_bytes());
    head[SEQ].copy_from_slice(&header.seq.to_le_bytes());
    head[TIME_MS].copy_from_slice(&header.time_ms.to_le_bytes());
    out.reserve(FRAME_HEADER_SIZE_BYTES + payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    let checked = start + CHECKSUM.end..out.len();
    let checksum = crc32_iscsi(&out[checked.clone()]);
    out[start..start + CHECKSUM.end].copy_from_slice(&checksum.to_le_bytes());
    Ok(checked)
}

/// Reads the frame at the start of `bytes`, which may go on behind it.
///
/// # Errors
///
/// [`FrameFault`] when there is no whole, sound frame. Nothing is allocated.
#[inline]
pub fn decode_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let Some(head) = bytes.first_chunk::<FRAME_HEADER_SIZE_BYTES>() else {
        return Err(FrameFault::Incomplete {
            needed_bytes: FRAME_HEADER_SIZE_BYTES as u64,
            found_bytes: bytes.len() as u64,
        });
    };
    let length = u32_at(head, LENGTH) as usize;
    if length > PAYLOAD_SIZE_BYTES_MAX {
        return Err(FrameFault::TooLong { length_bytes: length as u64 });
    }
    let header = FrameHeader {
        kind: u16_at(head, KIND),
        version: u16_at(head, VERSION),
        seq: u64_at(head, SEQ),
        time_ms: u64_at(head, TIME_MS).cast_signed(),
    };
    if header.kind == 0 || header.version == 0 {
        return Err(FrameFault::KindZero);
    }
    let size_bytes = FRAME_HEADER_SIZE_BYTES + length;
    let Some(checked_bytes) = bytes.get(CHECKSUM.end..size_bytes) else {
        return Err(FrameFault::Incomplete { needed_bytes: size_bytes as u64, found_bytes: bytes.len() as u64 });
    };
    let (expected, found) = (u32_at(head, CHECKSUM), crc32_iscsi(checked_bytes));
    if expected != found {
        return Err(FrameFault::Checksum { expected, found });
    }
    Ok(Frame { header, payload: &checked_bytes[FRAME_HEADER_SIZE_BYTES - CHECKSUM.end..], checked_bytes })
}

/// Returns the size that the frame at the start of `bytes` claims to have, bytes; `None` where not even its header is
/// there, or it claims more than a frame may have.
pub(super) fn claimed_size_bytes(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<FRAME_HEADER_SIZE_BYTES>()?;
    let length = u32_at(head, LENGTH) as usize;
    (length <= PAYLOAD_SIZE_BYTES_MAX).then_some(FRAME_HEADER_SIZE_BYTES + length)
}

/// Returns the sequence number of the frame header at the start of `bytes`; `None` where it is not whole.
pub(super) fn claimed_seq(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<FRAME_HEADER_SIZE_BYTES>().map(|head| u64_at(head, SEQ))
}

/// What [`find_frame`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A sound frame starts at this offset.
    At(usize),
    /// There is none.
    Nothing,
    /// The bytes look so much like frames that the search was given up.
    Undecided,
}

/// Looks for a sound frame that starts at `from` or anywhere behind it and whose sequence number is in `seqs`.
///
/// It tells a torn tail (nothing valid behind the damage) from corruption (something valid behind it).
pub(super) fn find_frame(bytes: &[u8], from: usize, seqs: std::ops::RangeInclusive<u64>) -> Found {
    let mut checked_bytes = 0_usize;
    for offset in from..bytes.len() {
        let rest = &bytes[offset..];
        let Some(head) = rest.first_chunk::<FRAME_HEADER_SIZE_BYTES>() else {
            break;
        };
        // The cheap tests first: they refuse almost every offset before a checksum is computed.
        let size_bytes = FRAME_HEADER_SIZE_BYTES + u32_at(head, LENGTH) as usize;
        if size_bytes > rest.len() || !seqs.contains(&u64_at(head, SEQ)) {
            continue;
        }
        checked_bytes = checked_bytes.saturating_add(size_bytes);
        if checked_bytes > SEARCH_CHECKED_BYTES_MAX {
            return Found::Undecided;
        }
        if decode_frame(rest).is_ok() {
            return Found::At(offset);
        }
    }
    Found::Nothing
}

fn u16_at(head: &[u8; FRAME_HEADER_SIZE_BYTES], at: Range<usize>) -> u16 {
    u16::from_le_bytes([head[at.start], head[at.start + 1]])
}

fn u32_at(head: &[u8; FRAME_HEADER_SIZE_BYTES], at: Range<usize>) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&head[at]);
    u32::from_le_bytes(bytes)
}

fn u64_at(head: &[u8; FRAME_HEADER_SIZE_BYTES], at: Range<usize>) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: FrameHeader = FrameHeader { kind: 0x0102, version: 0x0304, seq: 0x1122_3344_5566_7788, time_ms: -2 };

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(&HEADER, payload, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let expected = [
            &crc32_iscsi(&encoded(b"abc")[4..]).to_le_bytes()[..],
            &[3, 0, 0, 0, 0x02, 0x01, 0x04, 0x03],
            &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11],
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            b"abc",
        ]
        .concat();
        assert_eq!(encoded(b"abc"), expected);
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // Source: RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32_iscsi(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32_iscsi(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_cut_and_every_flip_is_seen() {
        let bytes = encoded(b"a payload");
        for cut in 0..bytes.len() {
            assert!(matches!(decode_frame(&bytes[..cut]), Err(FrameFault::Incomplete { .. })), "cut {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_no_reader_accepts_is_not_written() {
        let mut out = b"before".to_vec();
        let zero = FrameHeader { kind: 0, ..HEADER };
        assert_eq!(encode_frame(&zero, b"", &mut out), Err(FrameFault::KindZero));
        let long = vec![0; PAYLOAD_SIZE_BYTES_MAX + 1];
        let refused = encode_frame(&HEADER, &long, &mut out);
        assert_eq!(refused, Err(FrameFault::TooLong { length_bytes: long.len() as u64 }));
        assert_eq!(out, b"before");
        encode_frame(&HEADER, &long[1..], &mut out).unwrap();
        assert_eq!(decode_frame(&out[6..]).unwrap().payload.len(), PAYLOAD_SIZE_BYTES_MAX);
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(decode_frame(&[0; 64]), Err(FrameFault::KindZero));
    }

    #[test]
    fn a_frame_is_found_behind_damage_if_its_number_fits() {
        let mut bytes = b"some damaged bytes".to_vec();
        let start = bytes.len();
        bytes.extend_from_slice(&encoded(b"abc"));
        assert_eq!(find_frame(&bytes, 0, HEADER.seq..=HEADER.seq), Found::At(start));
        assert_eq!(find_frame(&bytes, start, 0..=u64::MAX), Found::At(start));
        assert_eq!(find_frame(&bytes, start + 1, 0..=u64::MAX), Found::Nothing);
        assert_eq!(find_frame(&bytes, 0, HEADER.seq + 1..=u64::MAX), Found::Nothing);
        assert_eq!(find_frame(&bytes[..bytes.len() - 1], 0, 0..=u64::MAX), Found::Nothing);
    }

    #[test]
    fn a_search_among_bytes_made_to_look_like_frames_ends() {
        // Every 32 bytes a header that claims 1 MiB and passes the cheap tests.
        let mut head = encoded(b"")[..FRAME_HEADER_SIZE_BYTES].to_vec();
        head[LENGTH].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        head.resize(32, 1);
        let bytes = head.repeat((2 << 20) / 32);
        assert_eq!(find_frame(&bytes, 0, HEADER.seq..=HEADER.seq), Found::Undecided);
    }

    proptest! {
        #[test]
        fn prop_any_frame_comes_back(
            kind in 1_u16.., version in 1_u16.., seq: u64, time_ms: i64,
            payload in prop::collection::vec(any::<u8>(), 0..200), behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let header = FrameHeader { kind, version, seq, time_ms };
            let mut bytes = Vec::new();
            encode_frame(&header, &payload, &mut bytes).unwrap();
            let size_bytes = bytes.len();
            bytes.extend_from_slice(&behind);
            let frame = decode_frame(&bytes).unwrap();
            prop_assert_eq!(frame.header, header);
            prop_assert_eq!(frame.payload, payload);
            prop_assert_eq!(frame.size_bytes(), size_bytes);
        }

        #[test]
        fn prop_any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(frame) = decode_frame(&bytes) {
                let mut again = Vec::new();
                encode_frame(&frame.header, frame.payload, &mut again).unwrap();
                prop_assert_eq!(&again, &bytes[..again.len()]);
            }
        }
    }
}
