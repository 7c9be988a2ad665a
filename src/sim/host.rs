//! The host: samples, heartbeat, policy, certificate, fee model and clock drift, as they stand and as they change.

use drillfold_kernel::{
    event::{Certificate, Event, MaintenanceWindow, Override, Producer, Sample},
    registry::CONTRACT_VERSION,
    units::{Ppm, TimeMs},
};

use crate::scenario::model;

/// What the host would report at this moment.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) mm_util: Ppm,
    pub(super) disk: (Ppm, Ppm),
    pub(super) drift_ms: i64,
    pub(super) heart_beats: bool,
    /// The last heartbeat; a boot reads it.
    pub(super) heartbeat_at: TimeMs,
    overrides: [Override; Producer::ALL.len()],
    volatility: Ppm,
    volatility_usual: Ppm,
    announcements: Announcements,
}

/// What a poll of the venue's announcements finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcements {
    Unreachable,
    Read(Option<MaintenanceWindow>),
}

impl Host {
    pub(super) fn new(setup: &model::Host, start: TimeMs) -> Self {
        Self {
            mm_util: setup.mm_util,
            disk: (setup.disk, setup.disk_secondary),
            drift_ms: setup.drift_ms,
            heart_beats: true,
            heartbeat_at: start,
            overrides: [Override::None; Producer::ALL.len()],
            volatility: setup.volatility,
            volatility_usual: setup.volatility,
            announcements: Announcements::Read(None),
        }
    }

    pub(super) const fn margin(&self, now: TimeMs) -> Sample {
        sample(self.mm_util, now)
    }

    pub(super) const fn disks(&self, now: TimeMs) -> (Sample, Sample) {
        (sample(self.disk.0, now), sample(self.disk.1, now))
    }

    /// Returns the margin and disk samples as events.
    pub(super) fn samples(&self, now: TimeMs) -> [Event; 2] {
        let (primary, secondary) = self.disks(now);
        [Event::MarginSampled(self.margin(now)), Event::DiskSampled { primary, secondary }]
    }

    /// Returns a fresh policy, certificate, fee model and drift as events.
    pub(super) fn refreshed(&self, now: TimeMs, build_id: &str, runtime_config_hash: &str) -> [Event; 4] {
        [
            Event::PolicyReceived { generated_at: Some(now) },
            Event::CertificateRead(Some(certificate(now, build_id, runtime_config_hash))),
            Event::FeeModelRead { cached_at: Some(now) },
            Event::ClockDriftSampled { drift_ms: Some(self.drift_ms) },
        ]
    }

    /// Sets a producer's signal; tells whether it changed.
    pub(super) fn set_override(&mut self, producer: Producer, signal: Override) -> bool {
        self.overrides.get_mut(producer.index()).is_some_and(|current| std::mem::replace(current, signal) != signal)
    }

    /// Returns the producers' first readings in the order of [`Producer::ALL`]; announcements that can't be read give none.
    pub(super) fn overrides(&self) -> Vec<Option<Override>> {
        let reads = |producer: Producer| {
            producer != Producer::ExchangeHealth || self.announcements != Announcements::Unreachable
        };
        let signals = Producer::ALL.into_iter().zip(self.overrides);
        signals.map(|(producer, signal)| Some(signal).filter(|_| reads(producer))).collect()
    }

    /// Returns the signals that a producer outside the process goes on reporting.
    pub(super) fn reported(&self) -> Vec<Event> {
        let signals = Producer::ALL.into_iter().zip(self.overrides).filter(|(_, signal)| *signal != Override::None);
        signals.map(|(producer, signal)| Event::OverrideSampled { producer, signal }).collect()
    }

    /// Sets the volatility index, or what it usually is; tells whether it changed.
    pub(super) fn set_volatility(&mut self, value: Option<Ppm>) -> bool {
        let value = value.unwrap_or(self.volatility_usual);
        std::mem::replace(&mut self.volatility, value) != value
    }

    /// Returns a reading of the volatility index.
    pub(super) const fn volatility(&self) -> Event {
        Event::VolatilityIndexRead { value: Some(self.volatility) }
    }

    /// Sets what the venue announces; tells whether it changed.
    pub(super) fn announce(&mut self, announcements: model::Announcements, now: TimeMs) -> bool {
        let announcements = match announcements {
            model::Announcements::Nothing => Announcements::Read(None),
            model::Announcements::Unreachable => Announcements::Unreachable,
            model::Announcements::Maintenance { in_ms, for_ms } => {
                let starts_at = now.after(in_ms);
                Announcements::Read(Some(MaintenanceWindow { starts_at, ends_at: starts_at.after(for_ms) }))
            }
        };
        std::mem::replace(&mut self.announcements, announcements) != announcements
    }

    /// Returns what a poll of the announcements finds.
    pub(super) const fn polled(&self) -> Event {
        match self.announcements {
            Announcements::Unreachable => Event::AnnouncementsUnavailable,
            Announcements::Read(window) => Event::MaintenanceAnnounced(window),
        }
    }

    /// Returns the maintenance that is announced, as far as that can be read.
    pub(super) const fn maintenance(&self) -> Option<MaintenanceWindow> {
        match self.announcements {
            Announcements::Unreachable => None,
            Announcements::Read(window) => window,
        }
    }
}

/// Returns a passing certificate that binds the running build, configuration and contract.
pub(super) fn certificate(now: TimeMs, build_id: &str, runtime_config_hash: &str) -> Certificate {
    Certificate {
        passed: true,
        generated_at: now,
        build_id: build_id.into(),
        runtime_config_hash: runtime_config_hash.into(),
        contract_version: CONTRACT_VERSION.into(),
    }
}

const fn sample(value: Ppm, at: TimeMs) -> Sample {
    Sample { value: Some(value), at: Some(at) }
}
