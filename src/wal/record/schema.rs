//! The record types, all of them, in one macro call.
//!
//! A kind is never reused, and a type never edited, once a log with it exists. To change an event: add a type with the
//! next version, move the old one to `superseded` with an `into_event` in `mirror` that says what it meant, append the new
//! fingerprint in `record`, and add a log with the new version to `wal-logs/`.

use drillfold_kernel::event as kernel;
use drillfold_kernel::event::Event;
use drillfold_kernel::{slot, units};
use rkyv::{Archive, Deserialize, Serialize};

use super::RecordType;
use super::mirror::{Mirror, archive, unarchive};
use crate::wal::error::RecordError;

/// Defines the types of the log, their conversions, and the table that the fingerprint is made of.
///
/// `choices` mirror enums without data, `structs` structs, `enums` enums with data, each as `Type = kernel type`;
/// `values` are converted by hand, in `mirror`; so are `superseded` records, which are read and not written any more.
/// `events` are `kind.version Variant { fields } as Type`; the field of a tuple variant is given as `(name: type)`.
macro_rules! schema {
    (
        choices {$( $choice:ident = $choice_kernel:path { $($choice_variant:ident),* $(,)? } )*}
        values {$( $value:ident { $($value_field:ident: $value_type:ty),* $(,)? } )*}
        structs {$( $struct:ident = $struct_kernel:path { $($field:ident: $field_type:ty),* $(,)? } )*}
        enums {$(
            $enum:ident = $enum_kernel:path {$(
                $enum_variant:ident
                $( ($tuple_field:ident: $tuple_type:ty) )?
                $( { $($variant_field:ident: $variant_type:ty),* $(,)? } )?
            ),* $(,)?}
        )*}
        events {$(
            $kind:literal v $version:literal
            $event:ident
            $( ($event_tuple:ident: $event_tuple_type:ty) )?
            $( { $($event_field:ident: $event_type:ty),* $(,)? } )?
            as $record:ident
        )*}
        superseded {$(
            $old_kind:literal v $old_version:literal $old_record:ident { $($old_field:ident: $old_type:ty),* $(,)? }
        )*}
    ) => {
        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq)]
            pub(super) enum $choice { $($choice_variant),* }

            impl Mirror<$choice_kernel> for $choice {
                fn mirror(value: &$choice_kernel) -> Self {
                    type Kernel = $choice_kernel;
                    match value {
                        $(Kernel::$choice_variant => Self::$choice_variant,)*
                    }
                }

                fn restore(self) -> Result<$choice_kernel, RecordError> {
                    type Kernel = $choice_kernel;
                    Ok(match self {
                        $(Self::$choice_variant => Kernel::$choice_variant,)*
                    })
                }
            }

            const _: () = assert!(align_of::<<$choice as Archive>::Archived>() == 1);
        )*

        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
            pub(super) struct $value { $(pub(super) $value_field: $value_type),* }

            const _: () = assert!(align_of::<<$value as Archive>::Archived>() == 1);
        )*

        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
            pub(super) struct $struct { $(pub(super) $field: $field_type),* }

            impl Mirror<$struct_kernel> for $struct {
                fn mirror(value: &$struct_kernel) -> Self {
                    type Kernel = $struct_kernel;
                    let Kernel { $($field),* } = value;
                    Self { $($field: Mirror::mirror($field)),* }
                }

                fn restore(self) -> Result<$struct_kernel, RecordError> {
                    type Kernel = $struct_kernel;
                    let Self { $($field),* } = self;
                    Ok(Kernel { $($field: Mirror::restore($field)?),* })
                }
            }

            const _: () = assert!(align_of::<<$struct as Archive>::Archived>() == 1);
        )*

        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
            pub(super) enum $enum {$(
                $enum_variant $( ($tuple_type) )? $( { $($variant_field: $variant_type),* } )?,
            )*}

            impl Mirror<$enum_kernel> for $enum {
                fn mirror(value: &$enum_kernel) -> Self {
                    type Kernel = $enum_kernel;
                    match value {$(
                        Kernel::$enum_variant $( ($tuple_field) )? $( { $($variant_field),* } )? => {
                            Self::$enum_variant
                            $( (Mirror::mirror($tuple_field)) )?
                            $( { $($variant_field: Mirror::mirror($variant_field)),* } )?
                        }
                    )*}
                }

                fn restore(self) -> Result<$enum_kernel, RecordError> {
                    type Kernel = $enum_kernel;
                    Ok(match self {$(
                        Self::$enum_variant $( ($tuple_field) )? $( { $($variant_field),* } )? => {
                            Kernel::$enum_variant
                            $( (Mirror::restore($tuple_field)?) )?
                            $( { $($variant_field: Mirror::restore($variant_field)?),* } )?
                        }
                    )*})
                }
            }

            const _: () = assert!(align_of::<<$enum as Archive>::Archived>() == 1);
        )*

        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
            pub(super) struct $record {
                $( pub(super) $event_tuple: $event_tuple_type, )?
                $( $(pub(super) $event_field: $event_type,)* )?
            }

            const _: () = assert!(align_of::<<$record as Archive>::Archived>() == 1);
            const _: () = assert!($kind != 0 && $kind <= crate::wal::control::EVENT_KIND_MAX && $version != 0);
        )*

        $(
            #[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
            pub(super) struct $old_record { $(pub(super) $old_field: $old_type),* }

            const _: () = assert!(align_of::<<$old_record as Archive>::Archived>() == 1);
        )*

        /// Record types that are read and not written any more.
        #[cfg(test)]
        pub(in crate::wal) const SUPERSEDED: &[RecordType] =
            &[$(RecordType { kind: $old_kind, version: $old_version }),*];

        /// Kind, version and name of each event.
        pub(super) const EVENTS: &[(u16, u16, &str)] = &[$(($kind, $version, stringify!($event))),*];

        /// Each type's definition and the size of its archived form in bytes, without what it points to.
        pub(super) const DEFINITIONS: &[(&str, usize)] = &[
            $((
                concat!("choice ", stringify!($choice { $($choice_variant),* })),
                size_of::<<$choice as Archive>::Archived>(),
            ),)*
            $((
                concat!("struct ", stringify!($value { $($value_field: $value_type),* })),
                size_of::<<$value as Archive>::Archived>(),
            ),)*
            $((
                concat!("struct ", stringify!($struct { $($field: $field_type),* })),
                size_of::<<$struct as Archive>::Archived>(),
            ),)*
            $((
                concat!("enum ", stringify!($enum {$(
                    $enum_variant $( ($tuple_type) )? $( { $($variant_field: $variant_type),* } )?
                ),*})),
                size_of::<<$enum as Archive>::Archived>(),
            ),)*
            $((
                concat!("event ", stringify!($kind v $version $record {
                    $( $event_tuple: $event_tuple_type )? $( $($event_field: $event_type),* )?
                })),
                size_of::<<$record as Archive>::Archived>(),
            ),)*
            $((
                concat!("superseded ", stringify!($old_kind v $old_version $old_record {
                    $($old_field: $old_type),*
                })),
                size_of::<<$old_record as Archive>::Archived>(),
            ),)*
        ];

        pub(super) fn encode(event: &Event, payload: &mut Vec<u8>) -> Result<RecordType, RecordError> {
            match event {$(
                Event::$event $( ($event_tuple) )? $( { $($event_field),* } )? => {
                    let record = $record {
                        $( $event_tuple: Mirror::mirror($event_tuple), )?
                        $( $($event_field: Mirror::mirror($event_field),)* )?
                    };
                    archive(stringify!($event), &record, payload)?;
                    Ok(RecordType { kind: $kind, version: $version })
                }
            )*}
        }

        pub(super) fn decode(record_type: RecordType, payload: &[u8]) -> Result<Event, RecordError> {
            match (record_type.kind, record_type.version) {
                $(($kind, $version) => {
                    let $record { $($event_tuple,)? $( $($event_field,)* )? } =
                        unarchive(stringify!($record), payload)?;
                    Ok(Event::$event
                        $( (Mirror::restore($event_tuple)?) )?
                        $( { $($event_field: Mirror::restore($event_field)?),* } )?
                    )
                })*
                $(($old_kind, $old_version) => {
                    unarchive::<$old_record>(stringify!($old_record), payload)?.into_event()
                })*
                (kind, version) => Err(match record_type.event_name() {
                    Some(event) => RecordError::UnknownVersion { event, version },
                    None => RecordError::UnknownKind { kind },
                }),
            }
        }

        #[cfg(test)]
        mod samples {
            use super::super::tests::{Sample, Source};
            use super::*;

            $(impl Sample for $choice {
                fn sample(source: &mut Source) -> Self {
                    source.pick(&[$(Self::$choice_variant),*])
                }
            })*

            $(impl Sample for $struct {
                fn sample(source: &mut Source) -> Self {
                    Self { $($field: Sample::sample(source)),* }
                }
            })*

            $(impl Sample for $enum {
                fn sample(source: &mut Source) -> Self {
                    let makers: &[fn(&mut Source) -> Self] = &[$({
                        fn make(_source: &mut Source) -> $enum {
                            $enum::$enum_variant
                            $( (<$tuple_type as Sample>::sample(_source)) )?
                            $( { $($variant_field: Sample::sample(_source)),* } )?
                        }
                        make
                    }),*];
                    source.pick(makers)(source)
                }
            })*

            /// Makes one event of each kind.
            pub(in super::super) const EVENT_MAKERS: &[fn(&mut Source) -> Event] = &[$({
                fn make(_source: &mut Source) -> Event {
                    let record = $record {
                        $( $event_tuple: <$event_tuple_type as Sample>::sample(_source), )?
                        $( $($event_field: <$event_type as Sample>::sample(_source),)* )?
                    };
                    let $record { $($event_tuple,)? $( $($event_field,)* )? } = record;
                    Event::$event
                        $( (Mirror::restore($event_tuple).unwrap()) )?
                        $( { $($event_field: Mirror::restore($event_field).unwrap()),* } )?
                }
                make
            }),*];
        }

        #[cfg(test)]
        pub(super) use samples::EVENT_MAKERS;
    };
}

schema! {
    choices {
        SideV1 = units::Side { Buy, Sell }
        ProducerV1 = kernel::Producer { Cortex, ExchangeHealth, Basis }
        OverrideV1 = kernel::Override { None, ForceReduceOnly, ForceKill }
        OutputQueueV1 = kernel::OutputQueue { Telemetry, StatusWriter, OrderEvents }
        SocketV1 = kernel::Socket { Public, Private }
        ChannelV1 = kernel::Channel { Book, Trades, Ticker, Other }
        CloseCauseV1 = kernel::CloseCause { Lost, SessionEnded, KeyRevoked }
        InstrumentKindV1 = kernel::InstrumentKind { Perpetual, Future, Option }
        VenueStateV1 = kernel::VenueState { Open, Filled, Cancelled, Rejected }
        ActionV1 = kernel::Action { Place, Close, Hedge, Unknown }
        OrderTypeV1 = kernel::OrderType { Limit, Market, StopMarket, StopLimit }
        CancelRefusalV1 = kernel::CancelRefusal {
            InvalidInstrument,
            NotFound,
            OrderbookClosed,
            InstrumentNotOpen,
            AlreadyGone,
            Other,
        }
        TimeInForceV1 = kernel::TimeInForce { ImmediateOrCancel, GoodTilCancelled }
        IntentClassV1 = kernel::IntentClass { Open, Close, Hedge, Rescue, EmergencyClose, EmergencyHedge }
        TlsmStateV1 = kernel::TlsmState { Created, Sent, Acked, PartiallyFilled, Filled, Canceled, Failed }
        GroupStateV1 = kernel::GroupState { New, Dispatched, Complete, MixedFailed, Flattening, Flattened }
        GroupFailureV1 = kernel::GroupFailure { LegRejected, LegRefused, LegCancelled, LegPartial, LegLost }
    }
    values {
        NamedValueV1 { name: String, value: i64 }
        ConfigV1 { values: Vec<NamedValueV1> }
        ModeReasonV1 { token: String }
        LegProposalV1 {
            instrument: u16,
            side: SideV1,
            action: ActionV1,
            reduce_only: Option<bool>,
            qty: i64,
            price: i64,
            time_in_force: TimeInForceV1,
        }
        GroupProposalV1 {
            strategy_id: String,
            group_id: String,
            structure_fingerprint: u64,
            net_edge_usd_cents: Option<i64>,
            legs: Vec<LegProposalV1>,
        }
    }
    structs {
        SampleV1 = kernel::Sample { value: Option<i64>, at: Option<i64> }
        CertificateV1 = kernel::Certificate {
            passed: bool,
            generated_at: i64,
            build_id: String,
            runtime_config_hash: String,
            contract_version: String,
        }
        MaintenanceWindowV1 = kernel::MaintenanceWindow { starts_at: i64, ends_at: i64 }
        InstrumentV1 = kernel::Instrument {
            name: String,
            kind: InstrumentKindV1,
            underlying: u8,
            tick_size: Option<i64>,
            amount_step: Option<i64>,
            min_amount: Option<i64>,
            subscribed: bool,
            fetched_at: i64,
        }
        LevelV1 = kernel::Level { price: i64, qty: i64 }
        BookSnapshotV1 = kernel::BookSnapshot {
            instrument: u16,
            change_id: u64,
            bids: Vec<LevelV1>,
            asks: Vec<LevelV1>,
        }
        BookChangeV1 = kernel::BookChange {
            instrument: u16,
            prev_change_id: u64,
            change_id: u64,
            bids: Vec<LevelV1>,
            asks: Vec<LevelV1>,
        }
        PublicTradeV1 = kernel::PublicTrade { trade_id: u64, trade_seq: u64, price: i64, qty: i64, side: SideV1 }
        TickerV1 = kernel::Ticker {
            instrument: u16,
            best_bid: Option<i64>,
            best_ask: Option<i64>,
            mark: Option<i64>,
            index: Option<i64>,
            last: Option<i64>,
            delta: Option<i64>,
        }
        VenueOrderV1 = kernel::VenueOrder {
            order_id: u64,
            label: String,
            instrument: u16,
            side: SideV1,
            price: i64,
            qty: i64,
            filled: i64,
            reduce_only: bool,
            state: VenueStateV1,
        }
        OwnTradeV1 = kernel::OwnTrade {
            trade_id: u64,
            order_id: u64,
            label: String,
            instrument: u16,
            side: SideV1,
            price: i64,
            qty: i64,
            at: i64,
        }
        VenuePositionV1 = kernel::VenuePosition { instrument: u16, qty: i64 }
        LegProposalV2 = kernel::LegProposal {
            instrument: u16,
            side: SideV1,
            action: ActionV1,
            reduce_only: Option<bool>,
            qty: i64,
            price: i64,
            time_in_force: TimeInForceV1,
            order_type: OrderTypeV1,
            linked: bool,
            post_only: bool,
            contracts: Option<i64>,
        }
        EdgeInputsV1 = kernel::EdgeInputs {
            gross_usd_cents: Option<i64>,
            fee_usd_cents: Option<i64>,
            slippage_usd_cents: Option<i64>,
        }
        GroupProposalV2 = kernel::GroupProposal {
            strategy_id: String,
            group_id: String,
            structure_fingerprint: u64,
            edge: EdgeInputsV1,
            legs: Vec<LegProposalV2>,
        }
        MetadataV1 = kernel::Metadata {
            tick_size: Option<i64>,
            amount_step: Option<i64>,
            min_amount: Option<i64>,
            contract_multiplier: Option<i64>,
            expires_at: Option<i64>,
        }
        IntentRecordV1 = kernel::IntentRecord {
            intent: u64,
            group_id: String,
            leg: u16,
            class: IntentClassV1,
            instrument: u16,
            side: SideV1,
            qty: i64,
            price: i64,
            reduce_only: bool,
            time_in_force: TimeInForceV1,
            label: String,
            at: i64,
        }
        KillLatchV1 = slot::KillLatch {
            reason: ModeReasonV1,
            by_registry_guard: bool,
            raised_at: i64,
            build_id: String,
            runtime_config_hash: String,
            incident_reset: bool,
            rebooted: bool,
            reauthenticated: bool,
            reconciled: bool,
        }
        SlotV1 = slot::Slot {
            kill_latches: Vec<KillLatchV1>,
            margin_reduce_band: bool,
            margin_kill_band: bool,
            emergency_triggered_at: Option<i64>,
            session_killed: bool,
            terminations: Vec<i64>,
            rate_limited: Vec<i64>,
            override_cooldowns: Vec<Option<i64>>,
            bunker: bool,
        }
        BootV1 = kernel::Boot {
            config: ConfigV1,
            build_id: String,
            runtime_config_hash: String,
            reference_instrument: Option<u16>,
            instruments: Vec<InstrumentV1>,
            certificate: Option<CertificateV1>,
            margin: SampleV1,
            disk_primary: SampleV1,
            disk_secondary: SampleV1,
            heartbeat_at: Option<i64>,
            loop_tick_at: Option<i64>,
            policy_generated_at: Option<i64>,
            fee_cached_at: Option<i64>,
            drift_ms: Option<i64>,
            overrides: Vec<Option<OverrideV1>>,
            maintenance: Option<MaintenanceWindowV1>,
            round_trips_ms: Vec<i64>,
            session_flag_readable: bool,
            session_count_readable: bool,
            tickers: Vec<TickerV1>,
            ledger: Vec<LedgerRecordV1>,
            ledger_damaged: bool,
            slot: SlotReadingV1,
        }
    }
    enums {
        SlotReadingV1 = kernel::SlotReading { Absent, Damaged, Read(slot: Box<SlotV1>) }
        RestAnswerV1 = kernel::RestAnswer {
            OpenOrders(orders: Vec<VenueOrderV1>),
            Positions(positions: Vec<VenuePositionV1>),
            OwnTrades(trades: Vec<OwnTradeV1>),
            OrderHistory(orders: Vec<VenueOrderV1>),
            Book(book: BookSnapshotV1),
            RecentTrades { instrument: u16, trades: Vec<PublicTradeV1> },
        }
        OperatorCommandV1 = kernel::OperatorCommand {
            IncidentReset { token: String, incident_id: String },
            Kill,
            EmergencyReduceOnly,
            AdoptPositions { incident_id: String },
            ResumeContainment { group_id: String },
        }
        LedgerRecordV1 = kernel::LedgerRecord {
            Group { group_id: String, strategy_id: String, structure_fingerprint: u64, legs: u16, at: i64 },
            Intent(intent: Box<IntentRecordV1>),
            Transition { intent: u64, state: TlsmStateV1, order_id: Option<u64>, at: i64 },
            GroupTransition { group_id: String, state: GroupStateV1, failure: Option<GroupFailureV1>, at: i64 },
            OwnTrade { trade: OwnTradeV1, intent: Option<u64>, coins: i64 },
            Ghost { intent: u64, at: i64 },
            Adopted { instrument: u16, qty: i64, incident_id: String, at: i64 },
            AtomicNaked {
                group_id: String,
                strategy_id: String,
                exposure_before: i64,
                exposure_after: i64,
                time_to_neutral_ms: i64,
                close_attempts: u8,
                hedge_used: bool,
                cause: GroupFailureV1,
                mode: u8,
                at: i64,
            },
        }
    }
    events {
        1 v 1 Booted(boot: Box<BootV1>) as BootedV1
        2 v 1 Crashed as CrashedV1
        3 v 1 LoopTicked as LoopTickedV1
        4 v 1 HeartbeatSeen as HeartbeatSeenV1
        5 v 1 MarginSampled(sample: SampleV1) as MarginSampledV1
        6 v 1 DiskSampled { primary: SampleV1, secondary: SampleV1 } as DiskSampledV1
        7 v 1 PolicyReceived { generated_at: Option<i64> } as PolicyReceivedV1
        8 v 1 CertificateRead(certificate: Option<CertificateV1>) as CertificateReadV1
        9 v 1 FeeModelRead { cached_at: Option<i64> } as FeeModelReadV1
        10 v 1 ClockDriftSampled { drift_ms: Option<i64> } as ClockDriftSampledV1
        11 v 1 OverrideSampled { producer: ProducerV1, signal: OverrideV1 } as OverrideSampledV1
        12 v 1 MaintenanceAnnounced(window: Option<MaintenanceWindowV1>) as MaintenanceAnnouncedV1
        13 v 1 LimitsFetched { succeeded: bool } as LimitsFetchedV1
        14 v 1 OutputQueueSampled { queue: OutputQueueV1, depth: u32, capacity: u32 } as OutputQueueSampledV1
        15 v 1 GroupLockSampled { held: bool } as GroupLockSampledV1
        16 v 1 InstrumentRefreshed(instrument: u16) as InstrumentRefreshedV1
        17 v 1 LimiterSampled { credits: i64 } as LimiterSampledV1
        18 v 1 BookSnapshot(book: BookSnapshotV1) as BookSnapshotReceivedV1
        19 v 1 BookChanged(change: BookChangeV1) as BookChangedV1
        20 v 1 TradesReceived { instrument: u16, trades: Vec<PublicTradeV1> } as TradesReceivedV1
        21 v 1 TickerReceived(ticker: TickerV1) as TickerReceivedV1
        22 v 1 FrameHeard(socket: SocketV1) as FrameHeardV1
        23 v 1 FrameRejected { socket: SocketV1, instrument: Option<u16>, channel: ChannelV1 } as FrameRejectedV1
        24 v 1 SocketOpened(socket: SocketV1) as SocketOpenedV1
        25 v 1 SocketClosed { socket: SocketV1, cause: CloseCauseV1 } as SocketClosedV1
        26 v 1 Authenticated as AuthenticatedV1
        27 v 1 AuthenticationRefused { code: i32 } as AuthenticationRefusedV1
        28 v 1 VenueErrored { code: i32 } as VenueErroredV1
        29 v 1 Subscribed as SubscribedV1
        30 v 1 OrderUpdated(order: VenueOrderV1) as OrderUpdatedV1
        31 v 1 OrderRejected { label: String, code: i32 } as OrderRejectedV1
        32 v 1 OwnTraded(trades: Vec<OwnTradeV1>) as OwnTradedV1
        33 v 1 RestAnswered { request: u64, venue_time: i64, round_trip_ms: i64, answer: RestAnswerV1 } as RestAnsweredV1
        34 v 1 RestRefused { request: u64, code: i32, round_trip_ms: i64 } as RestRefusedV1
        35 v 1 LedgerDrained { records: u32 } as LedgerDrainedV1
        36 v 2 GroupProposed(group: GroupProposalV2) as GroupProposedV2
        37 v 1 CancelProposed { intent: u64 } as CancelProposedV1
        38 v 2 ReplaceProposed { intent: u64, replacement: GroupProposalV2 } as ReplaceProposedV2
        39 v 1 OperatorCommanded(command: OperatorCommandV1) as OperatorCommandedV1
        40 v 1 TokenReported { subsystem: String, token: String } as TokenReportedV1
        41 v 1 AnnouncementsUnavailable as AnnouncementsUnavailableV1
        42 v 1 VolatilityIndexRead { value: Option<i64> } as VolatilityIndexReadV1
        43 v 1 InstrumentFetched { instrument: u16, metadata: MetadataV1 } as InstrumentFetchedV1
        44 v 1 CancelRefused { label: String, cause: CancelRefusalV1 } as CancelRefusedV1
    }
    superseded {
        36 v 1 GroupProposedV1 { group: GroupProposalV1 }
        38 v 1 ReplaceProposedV1 { intent: u64, replacement: GroupProposalV1 }
    }
}
