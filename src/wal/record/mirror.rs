//! How values of the kernel become archived ones and back.

use drillfold_kernel::config::{Config, ConfigError};
use drillfold_kernel::event::{EdgeInputs, Event, GroupProposal, LegProposal, OrderType};
use drillfold_kernel::registry::ModeReason;
use drillfold_kernel::units::{
    InstrumentId, IntentHash, OrderId, Ppm, Price, Qty, RequestId, TimeMs, TradeId, UnderlyingId,
};
use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::{Archive, Deserialize, Serialize};

use super::super::error::RecordError;
use super::super::frame::PAYLOAD_SIZE_BYTES_MAX;
use super::schema::{
    ConfigV1, GroupProposalV1, GroupProposedV1, LegProposalV1, ModeReasonV1, NamedValueV1, ReplaceProposedV1,
};

/// A type of the log that stands for `K` of the kernel.
pub(super) trait Mirror<K>: Sized {
    /// Returns the log's form of `value`.
    fn mirror(value: &K) -> Self;

    /// Returns the kernel's form.
    ///
    /// # Errors
    ///
    /// [`RecordError`] where the value means nothing to this build.
    fn restore(self) -> Result<K, RecordError>;
}

macro_rules! mirror_itself {
    ($($kernel:ty),*) => {$(
        impl Mirror<$kernel> for $kernel {
            fn mirror(value: &$kernel) -> Self {
                value.clone()
            }

            fn restore(self) -> Result<$kernel, RecordError> {
                Ok(self)
            }
        }
    )*};
}

macro_rules! mirror_number {
    ($($kernel:ident as $number:ty),*) => {$(
        impl Mirror<$kernel> for $number {
            fn mirror(value: &$kernel) -> Self {
                value.0
            }

            fn restore(self) -> Result<$kernel, RecordError> {
                Ok($kernel(self))
            }
        }
    )*};
}

mirror_itself!(bool, u8, u16, u32, u64, i32, i64, String);
mirror_number!(
    Price as i64,
    Qty as i64,
    Ppm as i64,
    TimeMs as i64,
    OrderId as u64,
    TradeId as u64,
    IntentHash as u64,
    RequestId as u64,
    InstrumentId as u16,
    UnderlyingId as u8
);

impl<K, M: Mirror<K>> Mirror<Option<K>> for Option<M> {
    fn mirror(value: &Option<K>) -> Self {
        value.as_ref().map(M::mirror)
    }

    fn restore(self) -> Result<Option<K>, RecordError> {
        self.map(M::restore).transpose()
    }
}

impl<K, M: Mirror<K>> Mirror<Vec<K>> for Vec<M> {
    fn mirror(value: &Vec<K>) -> Self {
        value.iter().map(M::mirror).collect()
    }

    fn restore(self) -> Result<Vec<K>, RecordError> {
        self.into_iter().map(M::restore).collect()
    }
}

impl<K, M: Mirror<K>> Mirror<Box<K>> for Box<M> {
    fn mirror(value: &Box<K>) -> Self {
        Box::new(M::mirror(value))
    }

    fn restore(self) -> Result<Box<K>, RecordError> {
        (*self).restore().map(Box::new)
    }
}

/// The configuration goes by name, so that a log shows what each value was for.
impl Mirror<Config> for ConfigV1 {
    fn mirror(value: &Config) -> Self {
        let named = |(name, value): (&str, i64)| NamedValueV1 { name: name.to_string(), value };
        Self { values: value.pairs().into_iter().map(named).collect() }
    }

    fn restore(self) -> Result<Config, RecordError> {
        let pairs = self.values.iter().map(|pair| (pair.name.as_str(), pair.value));
        Config::from_pairs(pairs).map_err(|error| match error {
            ConfigError::Missing(name) => RecordError::ConfigMissing { name },
            ConfigError::Unknown(place) => RecordError::ConfigUnknown {
                name: self.values.get(place).map(|pair| pair.name.clone()).unwrap_or_default(),
            },
        })
    }
}

/// A reason goes by its token, which outlives its place in the registry.
impl Mirror<ModeReason> for ModeReasonV1 {
    fn mirror(value: &ModeReason) -> Self {
        Self { token: value.token().to_string() }
    }

    fn restore(self) -> Result<ModeReason, RecordError> {
        ModeReason::from_token(&self.token)
            .ok_or(RecordError::UnknownToken { registry: "mode reasons", token: self.token })
    }
}

/// Version 1 of a leg knew limit orders alone: nothing linked, none post-only, no contracts.
impl LegProposalV1 {
    fn into_leg(self) -> Result<LegProposal, RecordError> {
        Ok(LegProposal {
            instrument: InstrumentId(self.instrument),
            side: self.side.restore()?,
            action: self.action.restore()?,
            reduce_only: self.reduce_only,
            qty: Qty(self.qty),
            price: Price(self.price),
            time_in_force: self.time_in_force.restore()?,
            order_type: OrderType::Limit,
            linked: false,
            post_only: false,
            contracts: None,
        })
    }
}

/// Version 1 of a group had its edge net already, without what it was made of.
impl GroupProposalV1 {
    fn into_group(self) -> Result<GroupProposal, RecordError> {
        Ok(GroupProposal {
            strategy_id: self.strategy_id,
            group_id: self.group_id,
            structure_fingerprint: self.structure_fingerprint,
            edge: EdgeInputs::net(self.net_edge_usd_cents),
            legs: self.legs.into_iter().map(LegProposalV1::into_leg).collect::<Result<_, _>>()?,
        })
    }
}

impl GroupProposedV1 {
    /// Returns the event as this build has it.
    pub(super) fn into_event(self) -> Result<Event, RecordError> {
        Ok(Event::GroupProposed(self.group.into_group()?))
    }
}

impl ReplaceProposedV1 {
    /// Returns the event as this build has it.
    pub(super) fn into_event(self) -> Result<Event, RecordError> {
        let replacement = self.replacement.into_group()?;
        Ok(Event::ReplaceProposed { intent: IntentHash(self.intent), replacement })
    }
}

/// Archives `record` into `payload`, whose old content is dropped.
pub(super) fn archive<R>(event: &'static str, record: &R, payload: &mut Vec<u8>) -> Result<(), RecordError>
where
    R: for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>,
{
    payload.clear();
    let written = rkyv::api::high::to_bytes_in::<_, Failure>(record, std::mem::take(payload));
    match written {
        Ok(bytes) if bytes.len() <= PAYLOAD_SIZE_BYTES_MAX => {
            *payload = bytes;
            Ok(())
        }
        Ok(_) | Err(Failure) => Err(RecordError::NotArchived { event }),
    }
}

/// Validates `payload` as an archived `R` and returns that where it lies.
pub(super) fn access<'a, R>(record: &'static str, payload: &'a [u8]) -> Result<&'a R::Archived, RecordError>
where
    R: Archive,
    R::Archived: for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    rkyv::api::high::access::<R::Archived, Failure>(payload)
        .map_err(|Failure| RecordError::Malformed { record, size_bytes: payload.len() })
}

/// Validates `payload` as an archived `R` and reads it.
pub(super) fn unarchive<R>(record: &'static str, payload: &[u8]) -> Result<R, RecordError>
where
    R: Archive,
    R::Archived: for<'a> CheckBytes<HighValidator<'a, Failure>> + Deserialize<R, HighDeserializer<Failure>>,
{
    let malformed = || RecordError::Malformed { record, size_bytes: payload.len() };
    // A record without fields has no bytes; rkyv alone would pass any bytes over.
    if size_of::<R::Archived>() == 0 && !payload.is_empty() {
        return Err(malformed());
    }
    rkyv::api::high::from_bytes::<R, Failure>(payload).map_err(|Failure| malformed())
}
