//! Arguments of the commands that change the group, named as etcdctl's.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::ClientError;
use super::args::seconds;
use crate::proto::etcdserverpb::{
    MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
    MoveLeaderRequest,
};
use crate::proto::group::{AddWitnessRequest, SetTimingRequest};

/// What to do with the members.
#[derive(Clone, Debug, Subcommand)]
pub enum MemberCommand {
    /// Adds a member, which is started afterwards: prints with what settings. It votes once it has caught up.
    Add(AddArgs),
    /// Removes a member for good; it stops.
    Remove(IdArgs),
    /// Changes where a member's peers reach it.
    Update(UpdateArgs),
    /// Makes a learner that has caught up a voter.
    Promote(IdArgs),
    /// Who belongs to the cluster.
    List,
}

/// What to do with the whole group's timeouts.
#[derive(Clone, Debug, Subcommand)]
pub enum TimingCommand {
    /// Prints them.
    Get,
    /// Changes them on all replicas, and on those that are added later.
    Set(TimingArgs),
}

/// Of `member add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// What it will be called.
    pub name: String,
    /// Where its peers will reach it, like http://10.0.0.4:2380.
    #[arg(long, value_delimiter = ',', required = true)]
    pub peer_urls: Vec<String>,
    /// It only learns, and never votes before it is promoted.
    #[arg(long)]
    pub learner: bool,
    /// It is a witness: it only votes, and has no data.
    #[arg(long, conflicts_with = "learner")]
    pub witness: bool,
}

impl AddArgs {
    pub fn request(&self) -> MemberAddRequest {
        MemberAddRequest {
            peer_ur_ls: self.peer_urls.clone(),
            is_learner: self.learner,
        }
    }

    pub fn witness_request(&self) -> AddWitnessRequest {
        AddWitnessRequest {
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
        }
    }
}

/// A member.
#[derive(Args, Clone, Debug)]
pub struct IdArgs {
    /// Its id in hexadecimal, as `member list` prints it.
    pub id: String,
}

impl IdArgs {
    pub fn id(&self) -> Result<u64, ClientError> {
        id(&self.id)
    }

    pub fn remove(&self) -> Result<MemberRemoveRequest, ClientError> {
        Ok(MemberRemoveRequest { id: self.id()? })
    }

    pub fn promote(&self) -> Result<MemberPromoteRequest, ClientError> {
        Ok(MemberPromoteRequest { id: self.id()? })
    }

    pub fn move_leader(&self) -> Result<MoveLeaderRequest, ClientError> {
        let target_id = self.id()?;
        Ok(MoveLeaderRequest { target_id })
    }
}

/// Of `member update`.
#[derive(Args, Clone, Debug)]
pub struct UpdateArgs {
    /// Its id in hexadecimal, as `member list` prints it.
    pub id: String,
    /// Where its peers reach it from now on.
    #[arg(long, value_delimiter = ',', required = true)]
    pub peer_urls: Vec<String>,
}

impl UpdateArgs {
    pub fn request(&self) -> Result<MemberUpdateRequest, ClientError> {
        Ok(MemberUpdateRequest {
            id: id(&self.id)?,
            peer_ur_ls: self.peer_urls.clone(),
        })
    }
}

/// Of `timing set`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub struct TimingArgs {
    /// Between a leader's heartbeats, like 50ms.
    #[arg(long, value_parser = positive)]
    heartbeat: Option<Duration>,
    /// Without a leader before an election, like 400ms; at least five heartbeats.
    #[arg(long, value_parser = positive)]
    election: Option<Duration>,
}

impl TimingArgs {
    pub fn request(&self) -> SetTimingRequest {
        let nanos = |time: Option<Duration>| {
            let nanos = time.map_or(0, |time| time.as_nanos());
            u64::try_from(nanos).unwrap_or(u64::MAX)
        };
        SetTimingRequest {
            heartbeat_ns: nanos(self.heartbeat),
            election_ns: nanos(self.election),
        }
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = seconds(text)?;
    match time.is_zero() {
        true => Err("it must be above zero".into()),
        false => Ok(time),
    }
}

fn id(text: &str) -> Result<u64, ClientError> {
    u64::from_str_radix(text, 16).map_err(|error| {
        ClientError::Usage(format!(
            "bad member ID arg {text:?} ({error}), expecting ID in Hex as `member list` prints it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!(id("ca2a671d4e546bdf").ok(), Some(0xca2a_671d_4e54_6bdf));
        assert!(id("node1").is_err());
        assert!(id("").is_err());
    }
}
