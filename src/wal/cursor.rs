//! Going through the frames of one log file, wherever its bytes are.
//!
//! [`Cursor`] is the one place that knows which frame may stand where, and how a file may end. The readers of slices
//! and of files differ only in the [`Source`] they give it.
//!
//! Source: specs/log-format.md, sections Records of a log and How a log ends.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use drillfold_kernel::units::Seq;

use super::control::{
    BATCH_KIND, CONTROL_VERSION, END_KIND, EVENT_KIND_MAX, End, FeedFrame, INDEX_KIND, IndexEntry, MARK_KIND, Mark,
    NOTE_KIND_MIN, decode_batch, decode_index,
};
use super::digest::EventDigest;
use super::error::{FrameFault, ReadFault};
use super::frame::{
    FRAME_HEADER_SIZE_BYTES, Frame, FrameHeader, SEARCH_CHECKED_BYTES_MAX, SEQ, claimed_seq, claimed_size_bytes,
    decode_frame,
};
use super::header::LogHeader;
use super::log_reader::{Summary, Tail};
use super::record::RecordType;

/// The bytes of one file, of which a part is at hand.
pub(super) trait Source {
    /// Why bytes could not be brought.
    type Error;

    /// Size of the file, bytes.
    fn size_bytes(&self) -> u64;

    /// Brings the bytes from `offset` on: at least `wanted_bytes`, or all there are.
    fn load(&mut self, offset: u64, wanted_bytes: usize) -> Result<(), Self::Error>;

    /// Returns the bytes at hand from `offset` on, after [`Source::load`] of the same offset.
    fn loaded(&self, offset: u64) -> &[u8];
}

/// A file that is in memory as a whole.
impl Source for &[u8] {
    type Error = Infallible;

    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn load(&mut self, _offset: u64, _wanted_bytes: usize) -> Result<(), Infallible> {
        Ok(())
    }

    fn loaded(&self, offset: u64) -> &[u8] {
        bytes_from(self, offset)
    }
}

/// Returns the bytes of a whole file from `offset` on.
pub(super) fn bytes_from(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default()
}

/// Whether the event digest is computed along the way. Without it an end is checked for all but the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// Computed, and compared with the one in the end.
    Check,
    /// Not computed; each frame's checksum is checked all the same.
    Skip,
}

/// What stands at the cursor's place.
#[derive(Debug)]
pub(super) enum Step {
    /// An event, a frame of a feed, or a note that this build does not know: the frame of `size_bytes` bytes at `offset` is sound and
    /// fits.
    Frame { offset: u64, header: FrameHeader, size_bytes: usize },
    /// Any other record.
    Control { offset: u64, header: FrameHeader, record: Control },
}

/// A record that is no event and known.
#[derive(Debug)]
pub(super) enum Control {
    Mark(Mark),
    Batch { durable_seq: Seq },
    Index(Vec<IndexEntry>),
    End(End),
}

/// Why a step was not made.
#[derive(Debug)]
pub(super) enum StepError<E> {
    /// The file is damaged at [`Cursor::offset`].
    Read(ReadFault),
    /// The bytes could not be had.
    Source(E),
}

impl<E> From<ReadFault> for StepError<E> {
    fn from(fault: ReadFault) -> Self {
        Self::Read(fault)
    }
}

/// A place between two records of a file, with what was read before it.
///
/// It can be cloned: a clone goes on from the same place.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    offset: u64,
    first_seq: Seq,
    next_seq: Seq,
    durable_seq: Seq,
    batch_read: bool,
    mark_count: u64,
    feed_frame_count: u64,
    unknown_count: u64,
    index_offset: u64,
    /// False where the records before the place were not read, so that what was counted is a part only.
    from_start: bool,
    digest: Option<EventDigest>,
    end: Option<End>,
    tail: Tail,
    done: bool,
}

impl Cursor {
    /// Returns the place of the first record, right behind the header.
    pub(super) fn new(header: &LogHeader, header_size_bytes: u64, digests: Digests) -> Self {
        Self {
            offset: header_size_bytes,
            first_seq: header.first_seq,
            next_seq: header.first_seq,
            durable_seq: Seq(header.first_seq.0.saturating_sub(1)),
            batch_read: false,
            mark_count: 0,
            feed_frame_count: 0,
            unknown_count: 0,
            index_offset: 0,
            from_start: true,
            digest: match digests {
                Digests::Check => Some(EventDigest::new()),
                Digests::Skip => None,
            },
            end: None,
            tail: Tail::Clean,
            done: false,
        }
    }

    /// Returns the place of the event that an index entry names. The counts, the digest and the place of the index
    /// can't be checked from there.
    pub(super) fn at_entry(header: &LogHeader, entry: &IndexEntry) -> Self {
        let start = Self::new(header, entry.offset, Digests::Skip);
        Self { next_seq: entry.seq, from_start: false, ..start }
    }

    /// Where the next frame starts, bytes from the file's start; after an error, the damaged one.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number the next event has.
    pub(super) fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// The last record, where it was read.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// What was read so far.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            event_count: self.next_seq.0 - self.first_seq.0,
            mark_count: self.mark_count,
            feed_frame_count: self.feed_frame_count,
            unknown_count: self.unknown_count,
            next_seq: self.next_seq,
            durable_seq: self.durable_seq,
            end: self.end,
            tail: self.tail,
            sound_bytes: self.offset,
            event_digest: self.digest.as_ref().map(EventDigest::value).unwrap_or_default(),
        }
    }

    /// True when there is nothing more to read: at the end, torn or not, and after an error.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Makes a place that was the end of a file, or damaged, a place to look at again: its bytes may have changed since.
    pub(super) fn look_again(&mut self) {
        if self.end.is_none() {
            self.tail = Tail::Clean;
            self.done = false;
        }
    }

    /// Checks the frame at this place and goes behind it; `None` at the end, torn or not. After an error the place is
    /// that of the damage, and nothing but [`Cursor::look_again`] leads on.
    pub(super) fn step<S: Source>(&mut self, source: &mut S) -> Result<Option<Step>, StepError<S::Error>> {
        if self.done {
            return Ok(None);
        }
        let step = self.try_step(source);
        self.done = !matches!(step, Ok(Some(_))) || self.end.is_some();
        step
    }

    /// Goes behind the frame at this place and returns it with its offset, if it is a sound event that fits and its bytes
    /// are at hand: the common case, without everything else. `None` says nothing but that [`Cursor::step`] has to be
    /// asked.
    #[inline]
    pub(super) fn step_event<'s, S: Source>(&mut self, source: &'s S) -> Option<(u64, Frame<'s>)> {
        if self.done {
            return None;
        }
        let frame = decode_frame(source.loaded(self.offset)).ok()?;
        if frame.header.kind > EVENT_KIND_MAX || frame.header.seq != self.next_seq.0 {
            return None;
        }
        let following = self.next_seq.0.checked_add(1)?;
        if let Some(digest) = &mut self.digest {
            digest.push(frame.checked_bytes);
        }
        let offset = self.offset;
        self.next_seq = Seq(following);
        self.offset = offset + frame.size_bytes() as u64;
        Some((offset, frame))
    }

    fn try_step<S: Source>(&mut self, source: &mut S) -> Result<Option<Step>, StepError<S::Error>> {
        let offset = self.offset;
        if offset >= source.size_bytes() {
            return Ok(None);
        }
        let (header, size_bytes) = match frame_at(source, offset).map_err(StepError::Source)? {
            Ok(found) => found,
            Err(fault) => {
                self.judge_tail(source, fault)?;
                return Ok(None);
            }
        };
        if header.seq != self.next_seq.0 {
            return Err(ReadFault::SequenceGap { found: header.seq }.into());
        }
        let step = if header.kind <= EVENT_KIND_MAX {
            let following = header.seq.checked_add(1).ok_or(ReadFault::SequenceOverflow)?;
            if let Some(digest) = &mut self.digest {
                digest.push(loaded_frame(source, offset, header, size_bytes).checked_bytes);
            }
            self.next_seq = Seq(following);
            Step::Frame { offset, header, size_bytes }
        } else {
            self.read_other(source, header, size_bytes)?
        };
        self.offset = offset + size_bytes as u64;
        Ok(Some(step))
    }

    fn read_other<S: Source>(
        &mut self,
        source: &mut S,
        header: FrameHeader,
        size_bytes: usize,
    ) -> Result<Step, StepError<S::Error>> {
        let offset = self.offset;
        let malformed = |record| ReadFault::Malformed { record, what: "its fields are not those of its kind" };
        let payload = loaded_frame(source, offset, header, size_bytes).payload;
        let record = match (header.kind, header.version) {
            (MARK_KIND, CONTROL_VERSION) => {
                let mark = Mark::decode(payload).ok_or_else(|| malformed("mark"))?;
                self.mark_count += 1;
                Control::Mark(mark)
            }
            (BATCH_KIND, CONTROL_VERSION) => {
                let durable_seq = decode_batch(payload).ok_or_else(|| malformed("batch"))?;
                if durable_seq < self.durable_seq || durable_seq >= self.next_seq {
                    let what = "its durable sequence number goes back, or is past the last event";
                    return Err(ReadFault::Malformed { record: "batch", what }.into());
                }
                self.durable_seq = durable_seq;
                self.batch_read = true;
                Control::Batch { durable_seq }
            }
            (INDEX_KIND, CONTROL_VERSION) => {
                let entries = decode_index(payload).ok_or_else(|| malformed("index"))?;
                self.check_index(source, &entries)?;
                self.index_offset = offset;
                Control::Index(entries)
            }
            (END_KIND, CONTROL_VERSION) => {
                let end = End::decode(payload).ok_or_else(|| malformed("end"))?;
                self.check_end(source, &end, size_bytes)?;
                self.end = Some(end);
                Control::End(end)
            }
            (kind, version) if kind >= NOTE_KIND_MIN => {
                match FeedFrame::decode(kind, version, payload) {
                    Some(_) => self.feed_frame_count += 1,
                    None => self.unknown_count += 1,
                }
                return Ok(Step::Frame { offset, header, size_bytes });
            }
            (kind, version) => return Err(ReadFault::UnknownRecord { kind, version }.into()),
        };
        Ok(Step::Control { offset, header, record })
    }

    /// Checks that every entry of an index leads to the event it names.
    fn check_index<S: Source>(&self, source: &mut S, entries: &[IndexEntry]) -> Result<(), StepError<S::Error>> {
        // Frames don't overlap, so no entry may lead into the frame of the one before; this also bounds the work.
        let mut previous_end = 0;
        for entry in entries {
            let found = match entry.offset < self.offset {
                true => frame_at(source, entry.offset).map_err(StepError::Source)?.ok(),
                false => None,
            };
            let right = found.is_some_and(|(header, size_bytes)| {
                let named =
                    header.kind <= EVENT_KIND_MAX && header.seq == entry.seq.0 && header.time_ms <= entry.at_max.0;
                let apart = entry.offset >= previous_end;
                previous_end = entry.offset + size_bytes as u64;
                named && apart && previous_end <= self.offset
            });
            if !right {
                let what = "an entry does not lead to the event it names";
                return Err(ReadFault::Malformed { record: "index", what }.into());
            }
        }
        Ok(())
    }

    fn check_end<S: Source>(
        &mut self,
        source: &mut S,
        end: &End,
        size_bytes: usize,
    ) -> Result<(), StepError<S::Error>> {
        let differs = |what| Err(ReadFault::Malformed { record: "end", what }.into());
        if end.offset != self.offset {
            return differs("it was written for another place");
        }
        if end.event_count != self.next_seq.0 - self.first_seq.0 {
            return differs("its counts are not those of the records before it");
        }
        if self.from_start && end.mark_count != self.mark_count {
            return differs("its counts are not those of the records before it");
        }
        if self.from_start && end.index_offset != self.index_offset {
            return differs("the index is not where it says");
        }
        if self.digest.as_ref().is_some_and(|digest| digest.value() != end.event_digest) {
            return differs("its digest is not that of the events before it");
        }
        let behind = self.offset + size_bytes as u64;
        let bytes = source.size_bytes().saturating_sub(behind);
        if bytes == 0 {
            return Ok(());
        }
        if !zeros_from(source, behind).map_err(StepError::Source)? {
            return Err(ReadFault::BehindEnd { bytes }.into());
        }
        self.tail = Tail::Zeroed { offset: behind, bytes };
        Ok(())
    }

    /// Tells how the file ends where no sound frame follows, or that this is no end.
    fn judge_tail<S: Source>(&mut self, source: &mut S, fault: FrameFault) -> Result<(), StepError<S::Error>> {
        let offset = self.offset;
        let bytes = source.size_bytes().saturating_sub(offset);
        if zeros_from(source, offset).map_err(StepError::Source)? {
            self.tail = Tail::Zeroed { offset, bytes };
            return Ok(());
        }
        match self.search_behind(source).map_err(StepError::Source)? {
            Behind::NothingDurable => {
                self.tail = Tail::Torn { offset, bytes, fault };
                Ok(())
            }
            Behind::Durable { sound_offset } => Err(ReadFault::Corrupt { fault, sound_offset }.into()),
            Behind::Undecided => Err(ReadFault::CorruptUndecided { fault }.into()),
        }
    }

    /// Looks behind the damage at this place for a record that says, or lets one conclude, that what is damaged was
    /// durable.
    ///
    /// The sectors of writes that were not synced may reach the disk in any order, so sound frames behind the damage
    /// alone prove nothing in a file with batches.
    fn search_behind<S: Source>(&self, source: &mut S) -> Result<Behind, S::Error> {
        // Whatever follows in this file carries a number from here on, and no more numbers than frames fit.
        let frames_max = source.size_bytes().saturating_sub(self.offset) / FRAME_HEADER_SIZE_BYTES as u64;
        let seqs = self.next_seq.0..=self.next_seq.0.saturating_add(frames_max);
        let mut batch_found = self.batch_read;
        let mut first_sound = None;
        let mut checked_in_vain = 0_usize;
        let mut place = self.offset + 1;
        while let Some(candidate) = next_candidate(source, place, &seqs)? {
            let Ok((header, size_bytes)) = frame_at(source, candidate)? else {
                let claimed = claimed_size_bytes(source.loaded(candidate)).unwrap_or_default();
                checked_in_vain = checked_in_vain.saturating_add(claimed);
                if checked_in_vain > SEARCH_CHECKED_BYTES_MAX {
                    return Ok(Behind::Undecided);
                }
                place = candidate + 1;
                continue;
            };
            let sound_offset = *first_sound.get_or_insert(candidate);
            let payload = loaded_frame(source, candidate, header, size_bytes).payload;
            match (header.kind, header.version) {
                (BATCH_KIND, CONTROL_VERSION) => {
                    // A batch names only events that stand before it.
                    let durable_seq = decode_batch(payload).filter(|durable| durable.0 < header.seq);
                    if durable_seq.is_some_and(|durable| durable >= self.next_seq) {
                        return Ok(Behind::Durable { sound_offset });
                    }
                    batch_found |= durable_seq.is_some();
                }
                (END_KIND, CONTROL_VERSION) if End::decode(payload).is_some_and(|end| end.offset == candidate) => {
                    return Ok(Behind::Durable { sound_offset });
                }
                _ => {}
            }
            place = candidate + size_bytes as u64;
        }
        match first_sound {
            Some(sound_offset) if !batch_found => Ok(Behind::Durable { sound_offset }),
            Some(_) | None => Ok(Behind::NothingDurable),
        }
    }
}

/// What lies behind damage.
enum Behind {
    /// Nothing that makes what is damaged durable.
    NothingDurable,
    /// What is damaged was durable; the first sound frame behind it starts there.
    Durable { sound_offset: u64 },
    /// The bytes look so much like frames that the search was given up.
    Undecided,
}

/// Checks the frame at `offset` and returns its header and size in bytes; its bytes are then at hand.
pub(super) fn frame_at<S: Source>(
    source: &mut S,
    offset: u64,
) -> Result<Result<(FrameHeader, usize), FrameFault>, S::Error> {
    let rest_bytes = source.size_bytes().saturating_sub(offset);
    source.load(offset, FRAME_HEADER_SIZE_BYTES)?;
    // Nothing is brought on the word of a length that is past the limit or past the file's end.
    if let Some(size_bytes) = claimed_size_bytes(source.loaded(offset))
        && size_bytes as u64 <= rest_bytes
        && size_bytes > source.loaded(offset).len()
    {
        source.load(offset, size_bytes)?;
    }
    Ok(match decode_frame(source.loaded(offset)) {
        Ok(frame) => Ok((frame.header, frame.size_bytes())),
        // The bytes at hand may end before the file does.
        Err(FrameFault::Incomplete { needed_bytes, .. }) => {
            Err(FrameFault::Incomplete { needed_bytes, found_bytes: rest_bytes })
        }
        Err(fault) => Err(fault),
    })
}

/// Returns the frame that [`frame_at`] has just found sound.
pub(super) fn loaded_frame<S: Source>(source: &S, offset: u64, header: FrameHeader, size_bytes: usize) -> Frame<'_> {
    Frame::checked_before(header, &source.loaded(offset)[..size_bytes])
}

/// True where all bytes from `offset` to the file's end are zero.
pub(super) fn zeros_from<S: Source>(source: &mut S, mut offset: u64) -> Result<bool, S::Error> {
    while offset < source.size_bytes() {
        source.load(offset, 1)?;
        let bytes = source.loaded(offset);
        if bytes.is_empty() {
            break;
        }
        if zero_count(bytes) < bytes.len() {
            return Ok(false);
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}

/// Returns the first place from `place` on where a frame with a number in `seqs` could lie whole, judged by its length
/// and number alone. These cheap tests refuse almost every place before a checksum is computed.
fn next_candidate<S: Source>(
    source: &mut S,
    mut place: u64,
    seqs: &RangeInclusive<u64>,
) -> Result<Option<u64>, S::Error> {
    assert!(*seqs.start() > 0, "no event has the number 0");
    let size_bytes = source.size_bytes();
    loop {
        source.load(place, FRAME_HEADER_SIZE_BYTES)?;
        let bytes = source.loaded(place);
        let mut ahead = 0;
        while let Some(head) = bytes.get(ahead..ahead + FRAME_HEADER_SIZE_BYTES) {
            let number = &head[SEQ];
            if number == [0; SEQ.end - SEQ.start] {
                // Zeros are no number, so the next place worth a look is the first whose number has a byte that is not.
                let zeros = zero_count(&bytes[ahead + SEQ.start..]);
                ahead += zeros - (SEQ.end - SEQ.start) + 1;
                continue;
            }
            let at = place + ahead as u64;
            let whole = claimed_size_bytes(head).is_some_and(|claimed| claimed as u64 <= size_bytes.saturating_sub(at));
            if whole && claimed_seq(head).is_some_and(|seq| seqs.contains(&seq)) {
                return Ok(Some(at));
            }
            ahead += 1;
        }
        if bytes.len() < FRAME_HEADER_SIZE_BYTES {
            return Ok(None);
        }
        place += ahead as u64;
    }
}

/// Returns how many zeros `bytes` begins with.
fn zero_count(bytes: &[u8]) -> usize {
    const STEP: usize = 64;
    let whole = bytes.chunks_exact(STEP).take_while(|chunk| **chunk == [0; STEP]).count() * STEP;
    whole + bytes[whole..].iter().take_while(|byte| **byte == 0).count()
}

/// Returns the record type in a frame's header.
pub(super) fn record_type(header: &FrameHeader) -> RecordType {
    RecordType { kind: header.kind, version: header.version }
}
