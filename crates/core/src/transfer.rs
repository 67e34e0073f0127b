//! How a leader stops leading: it hands over (thesis, section 3.10), or sees that it can't lead (rule 6).

use crate::message::Body;
use crate::plant::planted;
use crate::raft::Own;
use crate::replication::Leading;
use crate::{ReplicaId, StepDown};

/// Leadership on its way to a successor; no proposals are taken meanwhile.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Handover {
    to: ReplicaId,
    /// When it is given up.
    pub(crate) until: u64,
    /// The successor has the whole log, and was told to campaign.
    told: bool,
}

impl Leading {
    /// To this voter, or to the one that is furthest, and to no witness: it catches up, then it is told to campaign.
    pub(crate) fn hand_over(&mut self, own: &mut Own, to: Option<ReplicaId>) {
        let voters = self
            .progress
            .iter()
            .filter(|(id, _)| own.members.newest().may_lead(**id));
        let named = voters.filter(|(id, _)| to.is_none_or(|to| to == **id));
        if let Some((&to, _)) = named.max_by_key(|(_, peer)| peer.matched) {
            let until = own.now.monotonic + own.config.timing.election_nanos();
            let told = false;
            self.handover = Some(Handover { to, until, told });
            self.go_ahead(own);
        }
    }

    pub(crate) fn go_ahead(&mut self, own: &mut Own) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let successor = self.progress.get(&handover.to);
        let is_complete = successor.is_some_and(|it| it.matched == own.log.last().index);
        if is_complete && !handover.told {
            handover.told = true;
            self.has_told_successor = true;
            own.send(handover.to, Body::Campaign);
        }
    }

    /// What a leader does every heartbeat.
    pub(crate) fn lead_on(&mut self, own: &mut Own) {
        let goes_on = |it: &Handover| own.now.monotonic < it.until || planted!(P10);
        self.handover = self.handover.filter(goes_on);
        if !own.accepting && self.handover.is_none() {
            self.hand_over(own, None);
        }
        for (&to, progress) in &mut self.progress {
            progress.watch_transfer(to, own);
        }
        self.tend_members(own);
        self.tend_witnesses(own);
        self.heartbeat(own);
        own.schedule_beat();
    }

    /// A membership without us is committed, and there is nobody left to hand over to who was not told.
    fn has_left(&self, own: &Own) -> bool {
        let is_decided = own.members.newest_index() <= own.hard.committed;
        let has_tried = self.handover.is_none_or(|handover| handover.told);
        is_decided && has_tried && !own.members.newest().is_voter(own.config.id)
    }

    /// A leader that can't lead must not keep others from it.
    pub(crate) fn reason_to_step_down(&mut self, own: &mut Own) -> Option<StepDown> {
        let now = own.now.monotonic;
        let election = own.config.timing.election_nanos();
        own.contact = self.reached(own, now, |peer| peer.contact);
        if planted!(P07) {
            let members = own.members.newest();
            let learners = self.progress.iter().filter(|it| !members.is_voter(*it.0));
            let newest = learners.map(|(_, peer)| peer.contact).max();
            own.contact = own.contact.max(newest.unwrap_or_default());
        }
        let lasts = |since: u64, bound: u64| now.saturating_sub(since) >= bound;
        let (committed, durable) = (own.hard.committed, own.log.durable());
        self.disk_behind = match self.disk_behind {
            Some((index, since)) if index > durable => Some((index, since)),
            // A disk that is always a little late, and gets there, is only slow.
            _ => (committed > durable).then_some((committed, now)),
        };
        if committed == own.log.last().index {
            self.progressed_at = now;
        }
        if self.has_left(own) {
            Some(StepDown::NotAVoter)
        } else if lasts(own.contact, election) {
            Some(StepDown::NoContact)
        } else if self
            .disk_behind
            .is_some_and(|(_, since)| lasts(since, election))
        {
            Some(StepDown::SlowDisk)
        } else {
            lasts(self.progressed_at, 5 * election).then_some(StepDown::NoProgress)
        }
    }
}
