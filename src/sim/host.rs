//! The host: samples, heartbeat, policy, certificate, fee model and clock drift, as they stand and as they change.

use drillfold_kernel::{
    event::{Certificate, Event, Override, Producer, Sample},
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

    /// Returns the producers' signals in the order of [`Producer::ALL`].
    pub(super) fn overrides(&self) -> Vec<Option<Override>> {
        self.overrides.iter().copied().map(Some).collect()
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
