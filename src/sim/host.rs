//! The host: samples, heartbeat, policy, certificate, fee model, clock drift and announcements, as they stand and as they
//! change.
//!
//! Each input comes fresh at its pace unless a step stopped it. A silent one is read again as it was, so that it ages; an
//! unreadable one is missing.

use drillfold_kernel::{
    event::{Certificate, Event, MaintenanceWindow, Override, Producer, Sample},
    registry::CONTRACT_VERSION,
    units::{Ppm, TimeMs},
};

use crate::scenario::model::{self, CertificateState, HostInput, InputState};

/// What a certificate binds in place of what runs.
const OTHER: &str = "other";

/// How an input comes, with the time of its last reading where nothing new does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    Fresh,
    Silent(TimeMs),
    Unreadable,
}

/// What the host would report at this moment.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) mm_util: Ppm,
    pub(super) disk: (Ppm, Ppm),
    pub(super) drift_ms: i64,
    /// The last heartbeat; a boot reads it.
    pub(super) heartbeat_at: TimeMs,
    inputs: [Coming; HostInput::COUNT],
    certificate: CertificateState,
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
            heartbeat_at: start,
            inputs: [Coming::Fresh; HostInput::COUNT],
            certificate: CertificateState::Passed,
            overrides: [Override::None; Producer::ALL.len()],
            volatility: setup.volatility,
            volatility_usual: setup.volatility,
            announcements: Announcements::Read(None),
        }
    }

    /// Sets how an input comes from now on; tells whether that changed anything.
    pub(super) fn set_input(&mut self, input: HostInput, state: InputState, now: TimeMs) -> bool {
        let last_read = if input == HostInput::Heartbeat { self.heartbeat_at } else { now };
        let Some(coming) = self.inputs.get_mut(input.index()) else { return false };
        let new = match (state, *coming) {
            (InputState::Fresh, _) => Coming::Fresh,
            (InputState::Silent, Coming::Silent(since)) => Coming::Silent(since),
            (InputState::Silent, Coming::Fresh | Coming::Unreadable) => Coming::Silent(last_read),
            (InputState::Unreadable, _) => Coming::Unreadable,
        };
        std::mem::replace(coming, new) != new
    }

    /// True where an input comes new at its pace.
    pub(super) fn is_fresh(&self, input: HostInput) -> bool {
        self.inputs.get(input.index()) == Some(&Coming::Fresh)
    }

    /// Returns the time of an input's reading; `None` where it can't be read.
    pub(super) fn read_at(&self, input: HostInput, now: TimeMs) -> Option<TimeMs> {
        match self.inputs.get(input.index())? {
            Coming::Fresh => Some(now),
            Coming::Silent(at) => Some(*at),
            Coming::Unreadable => None,
        }
    }

    pub(super) fn margin(&self, now: TimeMs) -> Sample {
        self.sample(HostInput::Margin, self.mm_util, now)
    }

    pub(super) fn disks(&self, now: TimeMs) -> (Sample, Sample) {
        let (primary, secondary) = self.disk;
        (self.sample(HostInput::DiskPrimary, primary, now), self.sample(HostInput::DiskSecondary, secondary, now))
    }

    /// Returns the margin and disk samples as events.
    pub(super) fn samples(&self, now: TimeMs) -> [Event; 2] {
        let (primary, secondary) = self.disks(now);
        [Event::MarginSampled(self.margin(now)), Event::DiskSampled { primary, secondary }]
    }

    /// Returns policy, certificate, fee model and drift as events.
    pub(super) fn refreshed(&self, now: TimeMs, build_id: &str, runtime_config_hash: &str) -> [Event; 4] {
        [
            Event::PolicyReceived { generated_at: self.read_at(HostInput::Policy, now) },
            Event::CertificateRead(self.certificate(now, build_id, runtime_config_hash)),
            Event::FeeModelRead { cached_at: self.read_at(HostInput::FeeModel, now) },
            Event::ClockDriftSampled { drift_ms: self.drift(now) },
        ]
    }

    /// Returns the clock drift; `None` where it can't be read. It has no time of its own and so can't age.
    pub(super) fn drift(&self, now: TimeMs) -> Option<i64> {
        self.read_at(HostInput::Drift, now).map(|_| self.drift_ms)
    }

    /// Sets what the certificate says; tells whether that changed.
    pub(super) fn set_certificate(&mut self, state: CertificateState) -> bool {
        std::mem::replace(&mut self.certificate, state) != state
    }

    /// Returns the certificate on disk; `None` where it can't be read.
    pub(super) fn certificate(&self, now: TimeMs, build_id: &str, runtime_config_hash: &str) -> Option<Certificate> {
        let generated_at = self.read_at(HostInput::Certificate, now)?;
        let bound = Certificate {
            passed: true,
            generated_at,
            build_id: build_id.into(),
            runtime_config_hash: runtime_config_hash.into(),
            contract_version: CONTRACT_VERSION.into(),
        };
        Some(match self.certificate {
            CertificateState::Passed => bound,
            CertificateState::Failed => Certificate { passed: false, ..bound },
            CertificateState::OtherBuild => Certificate { build_id: OTHER.into(), ..bound },
            CertificateState::OtherConfig => Certificate { runtime_config_hash: OTHER.into(), ..bound },
            CertificateState::OtherContract => Certificate { contract_version: OTHER.into(), ..bound },
        })
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
    pub(super) fn polled(&self, now: TimeMs) -> Event {
        match self.announcements {
            Announcements::Unreachable => Event::AnnouncementsUnavailable,
            Announcements::Read(_) => Event::MaintenanceAnnounced(self.announced(now)),
        }
    }

    /// Returns the maintenance that is announced, as far as that can be read: until its end.
    pub(super) fn announced(&self, now: TimeMs) -> Option<MaintenanceWindow> {
        match self.announcements {
            Announcements::Unreachable => None,
            Announcements::Read(window) => window.filter(|window| now <= window.ends_at),
        }
    }

    fn sample(&self, input: HostInput, value: Ppm, now: TimeMs) -> Sample {
        let at = self.read_at(input, now);
        Sample { value: at.map(|_| value), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: model::Host = model::Host {
        sample_every_ms: 1_000,
        heartbeat_every_ms: 1_000,
        refresh_every_ms: 1_000,
        mm_util: Ppm(300_000),
        disk: Ppm(400_000),
        disk_secondary: Ppm(500_000),
        drift_ms: 5,
        volatility: Ppm(500_000),
    };

    fn host() -> Host {
        Host::new(&SETUP, TimeMs(0))
    }

    #[test]
    fn a_silent_input_ages_an_unreadable_one_is_missing_and_a_fresh_one_is_new() {
        let mut host = host();
        assert!(host.set_input(HostInput::Margin, InputState::Silent, TimeMs(10)));
        assert!(!host.set_input(HostInput::Margin, InputState::Silent, TimeMs(20)));
        assert_eq!(host.margin(TimeMs(50)), Sample { value: Some(Ppm(300_000)), at: Some(TimeMs(10)) });
        assert!(host.set_input(HostInput::Margin, InputState::Unreadable, TimeMs(60)));
        assert_eq!(host.margin(TimeMs(70)), Sample::default());
        assert!(host.set_input(HostInput::Margin, InputState::Fresh, TimeMs(80)));
        assert_eq!(host.margin(TimeMs(90)).at, Some(TimeMs(90)));
        assert!(!host.set_input(HostInput::Margin, InputState::Fresh, TimeMs(95)));
    }

    #[test]
    fn a_heartbeat_that_falls_silent_was_last_seen_when_it_was() {
        let mut host = host();
        host.heartbeat_at = TimeMs(7);
        assert!(host.set_input(HostInput::Heartbeat, InputState::Silent, TimeMs(12)));
        assert!(!host.is_fresh(HostInput::Heartbeat));
        assert_eq!(host.read_at(HostInput::Heartbeat, TimeMs(20)), Some(TimeMs(7)));
    }

    #[test]
    fn each_certificate_differs_from_the_running_one_in_one_point() {
        let mut host = host();
        let read = |host: &Host| {
            host.certificate(TimeMs(5), "b", "h").map(|of| {
                (of.passed, of.build_id == "b", of.runtime_config_hash == "h", of.contract_version == CONTRACT_VERSION)
            })
        };
        assert_eq!(read(&host), Some((true, true, true, true)));
        for (state, expected) in [
            (CertificateState::Failed, (false, true, true, true)),
            (CertificateState::OtherBuild, (true, false, true, true)),
            (CertificateState::OtherConfig, (true, true, false, true)),
            (CertificateState::OtherContract, (true, true, true, false)),
        ] {
            assert!(host.set_certificate(state));
            assert_eq!(read(&host), Some(expected));
        }
        assert!(host.set_input(HostInput::Certificate, InputState::Unreadable, TimeMs(6)));
        assert_eq!(read(&host), None);
    }

    #[test]
    fn an_announced_maintenance_leaves_the_announcements_after_its_end() {
        let mut host = host();
        let window = MaintenanceWindow { starts_at: TimeMs(10), ends_at: TimeMs(20) };
        let announced = model::Announcements::Maintenance { in_ms: 10, for_ms: 10 };
        assert!(host.announce(announced, TimeMs(0)) && !host.announce(announced, TimeMs(0)));
        assert_eq!((host.announced(TimeMs(20)), host.announced(TimeMs(21))), (Some(window), None));
        assert!(host.announce(model::Announcements::Unreachable, TimeMs(5)));
        assert_eq!(host.polled(TimeMs(5)), Event::AnnouncementsUnavailable);
        assert!(host.announce(model::Announcements::Nothing, TimeMs(6)));
        assert_eq!(host.polled(TimeMs(6)), Event::MaintenanceAnnounced(None));
    }
}
