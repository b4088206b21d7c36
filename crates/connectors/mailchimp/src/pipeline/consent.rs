//! Who must not be subscribed, and what follows for a record.

use crate::{Member, MemberStatus, SubscriberHash};
use martlet_pipeline::Consent;
use std::collections::BTreeSet;

/// The people who opted out or bounced at the destination: 16 bytes each, so that millions fit.
#[derive(Debug, Default)]
pub(super) struct Closed {
    opted_out: BTreeSet<SubscriberHash>,
    cleaned: BTreeSet<SubscriberHash>,
    /// Who the source says opted out, in this run: another contact with the same address cannot undo it.
    withdrawn: BTreeSet<SubscriberHash>,
}

/// What shall be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write it in bulk, without a status.
    Upsert,
    /// Carry the opt-out over to the destination, if it is there.
    OptOut,
    /// Subscribe somebody who opted out at the destination: only ever on demand.
    Resubscribe,
    /// Send nothing.
    Skip(&'static str),
}

pub(super) const OPTED_OUT: &str = "opted_out";
pub(super) const OPTED_OUT_THERE: &str = "opted_out_at_destination";

impl Closed {
    /// Takes note of a member's status at the destination.
    pub(super) fn note(&mut self, hash: SubscriberHash, status: &MemberStatus) {
        match status {
            MemberStatus::Unsubscribed => {
                self.opted_out.insert(hash);
            }
            MemberStatus::Cleaned => {
                self.cleaned.insert(hash);
            }
            _ => {}
        }
    }

    pub(super) fn note_member(&mut self, member: &Member) {
        if let Some(hash) = member.hash() {
            self.note(hash, &member.status);
        }
    }

    /// Takes note of an opt-out at the source.
    pub(super) fn withdraw(&mut self, hash: SubscriberHash) {
        self.withdrawn.insert(hash);
    }

    /// Somebody was subscribed again on demand.
    pub(super) fn reopen(&mut self, hash: SubscriberHash) {
        self.opted_out.remove(&hash);
    }

    pub(super) fn step(&self, hash: SubscriberHash, consent: Consent, resubscribe: bool) -> Step {
        let (opted_out, cleaned) = (self.opted_out.contains(&hash), self.cleaned.contains(&hash));
        match consent {
            Consent::Withdrawn if opted_out || cleaned => Step::Skip(OPTED_OUT),
            Consent::Withdrawn => Step::OptOut,
            _ if self.withdrawn.contains(&hash) => Step::Skip(OPTED_OUT),
            _ if cleaned => Step::Skip(OPTED_OUT_THERE),
            _ if opted_out && resubscribe => Step::Resubscribe,
            _ if opted_out => Step::Skip(OPTED_OUT_THERE),
            _ => Step::Upsert,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opt_out_on_either_side_wins() {
        let mut closed = Closed::default();
        let [open, out, cleaned, withdrawn] = ["a", "b", "c", "d"].map(SubscriberHash::of);
        closed.note(out, &MemberStatus::Unsubscribed);
        closed.note(cleaned, &MemberStatus::Cleaned);
        closed.note(open, &MemberStatus::Subscribed);
        closed.withdraw(withdrawn);
        for consent in [Consent::Given, Consent::Unknown] {
            for resubscribe in [false, true] {
                let step = |hash| closed.step(hash, consent, resubscribe);
                assert_eq!(step(open), Step::Upsert);
                assert_eq!(step(cleaned), Step::Skip(OPTED_OUT_THERE));
                assert_eq!(step(withdrawn), Step::Skip(OPTED_OUT));
                let on_demand = if resubscribe { Step::Resubscribe } else { Step::Skip(OPTED_OUT_THERE) };
                assert_eq!(step(out), on_demand);
            }
        }
        for resubscribe in [false, true] {
            let step = |hash| closed.step(hash, Consent::Withdrawn, resubscribe);
            assert_eq!(step(open), Step::OptOut);
            assert_eq!(step(withdrawn), Step::OptOut);
            assert_eq!((step(out), step(cleaned)), (Step::Skip(OPTED_OUT), Step::Skip(OPTED_OUT)));
        }
    }
}
