//! Faults that wait for something to strike: the next so many messages, orders, requests.

use drillfold_kernel::units::Ppm;

use crate::scenario::model::Action;

/// What a waiting fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Loses a book change of an instrument.
    DropBookChange(usize),
    /// Loses a trade message of an instrument.
    DropTrades(usize),
    /// Delivers a trade message of an instrument twice.
    RepeatTrades(usize),
    /// Lowers the number of an instrument's trade.
    StepBackTrades { instrument: usize, by: u64 },
    /// Delivers an own-trade message twice.
    RepeatOwnTrades,
    /// Refuses an order.
    RejectOrder { instrument: Option<usize>, only_legs: bool, code: i32 },
    /// Fills only a share of an immediate order.
    StarveOrder { instrument: Option<usize>, fill: Ppm },
    /// Refuses an authentication.
    RefuseAuthentication { code: i32 },
    /// Refuses a REST request.
    RefuseRest { code: i32 },
    /// Does not answer a REST request.
    LoseRest,
}

#[derive(Clone, Debug)]
struct Waiting {
    step: usize,
    left: u32,
    fault: Fault,
}

/// All faults that wait, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<Waiting>);

impl Faults {
    /// Sets a fault that strikes `count` times; zero times is no fault.
    pub(super) fn set(&mut self, step: usize, count: u32, fault: Fault) {
        if count > 0 {
            self.0.push(Waiting { step, left: count, fault });
        }
    }

    /// Lets the oldest fault that fits strike once; returns it and the step that set it.
    pub(super) fn strike(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<(usize, Fault)> {
        let place = self.0.iter().position(|waiting| fits(&waiting.fault))?;
        let waiting = self.0.get_mut(place)?;
        let struck = (waiting.step, waiting.fault);
        waiting.left = waiting.left.saturating_sub(1);
        if waiting.left == 0 {
            self.0.remove(place);
        }
        Some(struck)
    }
}

/// Returns the fault that an action sets and how often it strikes; `None` for actions that act at once.
pub(super) fn waiting_fault(action: &Action) -> Option<(u32, Fault)> {
    Some(match *action {
        Action::DropBookChanges { instrument, count } => (count, Fault::DropBookChange(instrument)),
        Action::DropTrades { instrument, count } => (count, Fault::DropTrades(instrument)),
        Action::RepeatTrades { instrument, count } => (count, Fault::RepeatTrades(instrument)),
        Action::StepBackTrades { instrument, by } => (u32::from(by > 0), Fault::StepBackTrades { instrument, by }),
        Action::RepeatOwnTrades { count } => (count, Fault::RepeatOwnTrades),
        Action::RejectOrders { instrument, only_legs, count, code } => {
            (count, Fault::RejectOrder { instrument, only_legs, code })
        }
        Action::StarveOrders { instrument, count, fill } => (count, Fault::StarveOrder { instrument, fill }),
        Action::RefuseAuthentication { count, code } => (count, Fault::RefuseAuthentication { code }),
        Action::RefuseRest { count, code } => (count, Fault::RefuseRest { code }),
        Action::LoseRest { count } => (count, Fault::LoseRest),
        Action::StopMarketData
        | Action::ResumeMarketData
        | Action::ProposeGroup { .. }
        | Action::StallLedger
        | Action::ResumeLedger
        | Action::Crash { .. }
        | Action::CrashAt { .. }
        | Action::Redeploy { .. }
        | Action::TooManyRequests
        | Action::EndSession
        | Action::RevokeKey { .. }
        | Action::DropPrivateSocket
        | Action::DropPublicSocket
        | Action::ReportToken { .. }
        | Action::Operator(_)
        | Action::SetMargin(_)
        | Action::SetDisk { .. }
        | Action::SetHeartbeat(_)
        | Action::SetDrift(_)
        | Action::SetInput { .. }
        | Action::SetCertificate(_)
        | Action::SetLatency { .. }
        | Action::FetchLimits { .. }
        | Action::SampleQueue { .. }
        | Action::TryGroupLock(_)
        | Action::SampleLimiter(_)
        | Action::StrayOrder { .. }
        | Action::ShiftPosition { .. }
        | Action::SetOverride { .. }
        | Action::SetMarket(_)
        | Action::Announce(_)
        | Action::SetStrategy { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_as_often_as_they_were_set_oldest_first() {
        let mut faults = Faults::default();
        faults.set(1, 2, Fault::DropTrades(0));
        faults.set(2, 0, Fault::LoseRest);
        faults.set(3, 1, Fault::DropTrades(0));
        let struck: Vec<Option<usize>> =
            (0..4).map(|_| faults.strike(|fault| *fault == Fault::DropTrades(0)).map(|(step, _)| step)).collect();
        assert_eq!(struck, [Some(1), Some(1), Some(3), None]);
        assert_eq!(faults.strike(|_| true), None);
    }
}
