//! A cluster that has lost its majority for good: what its survivor remembers, and how it goes on alone.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use little_raft::core::Position;
use little_raft::{
    Member, Recovered, Recovery, StateMachine, Survivor, inspect_group, recover_group,
};

use crate::bump::Bump;
use crate::data_dir::{log_dir, store_file};
use crate::store::{Store, StoreError};

/// Recovers a cluster from one survivor. Without the word it only says what it would do.
#[derive(Args, Clone, Debug)]
pub struct RecoverArgs {
    /// The data directory of one stopped replica, as `serve` has it.
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Do it: what only the lost members had is lost, and they can't come back.
    #[arg(long)]
    pub accept_data_loss: bool,
    /// How far revisions rise.
    #[command(flatten)]
    pub bump: Bump,
}

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The operator has not said so.
    #[error("nothing was changed; --accept-data-loss does it")]
    NotAccepted,
    /// The replica can't be recovered.
    #[error(transparent)]
    Group(#[from] little_raft::RecoverError),
    /// Its store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody listens.
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}

impl RecoverError {
    /// 2 for want of the word, 3 for damaged data, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotAccepted => ExitCode::from(2),
            Self::Group(little_raft::RecoverError::Damaged(_))
            | Self::Store(StoreError::Damaged { .. }) => ExitCode::from(3),
            _ => ExitCode::from(1),
        }
    }
}

/// Says what the replica remembers and what may be lost; with the operator's word, recovers its cluster.
///
/// # Errors
/// If it can't be done, or was not asked for explicitly.
pub fn run(args: &RecoverArgs) -> Result<(), RecoverError> {
    let log = log_dir(&args.data_dir);
    let survivor = inspect_group(&log)?;
    let mut out = io::stdout().lock();
    out.write_all(remembered(&survivor, &args.data_dir).as_bytes())?;
    let replica = survivor.replica;
    if survivor.membership.is_witness(replica) {
        return Err(little_raft::RecoverError::Witness { replica, dir: log }.into());
    }
    if !args.accept_data_loss {
        out.write_all(consequences(&survivor, args).as_bytes())?;
        return Err(RecoverError::NotAccepted);
    }
    let recovered = recover(args, &log)?;
    out.write_all(done(&recovered, &args.data_dir).as_bytes())?;
    Ok(())
}

/// The store stays open, and so locked, until it is done.
fn recover(args: &RecoverArgs, log: &Path) -> Result<Recovered, RecoverError> {
    let file = store_file(&args.data_dir);
    // Opening would make it; a replica that never got to it applies its log from the beginning.
    let store = file.exists().then(|| Store::open(&file)).transpose()?;
    let durable = store.as_ref().and_then(StateMachine::durable);
    let at = durable.map_or(Position::default(), |(position, _)| position);
    let recovery = Recovery::accept_data_loss().machine_at(at);
    let recovery = recovery.first_command(args.bump.command());
    Ok(recover_group(log, &recovery)?)
}

fn remembered(survivor: &Survivor, dir: &Path) -> String {
    let Survivor {
        replica,
        cluster,
        term,
        last,
        committed,
        ..
    } = survivor;
    let snapshot = survivor.snapshot.map(place);
    let snapshot = snapshot.unwrap_or_else(|| "none".into());
    let torn = match survivor.is_torn {
        true => "; behind it an unfinished write, which was never acknowledged",
        false => "",
    };
    let unfinished = match survivor.is_unfinished {
        true => "  recovery:   begun, and cut short by a crash; the next start does the rest\n",
        false => "",
    };
    let members = survivor.membership.members.iter();
    let members: Vec<String> = members.map(|it| member(it, survivor)).collect();
    format!(
        "replica {:x} in {}, of cluster {cluster:x}\n\
        {unfinished}  \
           log:        ends at {}{torn}; the newest term seen is {term}\n  \
           committed:  up to index {committed} as far as it knows\n  \
           snapshot:   {snapshot}\n  \
           members:    {}\n",
        replica.0,
        dir.display(),
        place(*last),
        members.join("\n              "),
    )
}

fn place(position: Position) -> String {
    format!("index {} of term {}", position.index, position.term)
}

fn member(member: &Member, survivor: &Survivor) -> String {
    let own = match (member.id == survivor.replica, member.witness) {
        (true, _) => " (this one)",
        (false, true) => " (a witness)",
        (false, false) => "",
    };
    format!("{:x} http://{}{own}", member.id.0, member.address)
}

fn consequences(survivor: &Survivor, args: &RecoverArgs) -> String {
    let (last, dir) = (survivor.last, args.data_dir.display());
    let unsure = match last.index - survivor.committed {
        0 => String::new(),
        1 => format!(
            "- entry {} may never have been committed, and counts from then on\n",
            last.index
        ),
        _ => format!(
            "- entries {} to {} may never have been committed, and count from then on\n",
            survivor.committed + 1,
            last.index
        ),
    };
    format!(
        "little-raft recover --data-dir {dir} --accept-data-loss makes it the only member of a new cluster:\n\
         - what the others have beyond {} is lost, also if it was acknowledged\n\
         {unsure}\
         - revisions rise by {}, above all that the others may have shown; those of before count as compacted\n\
         - the others can't come back: stop them for good, and empty their data directories before you add them anew\n\
         Of several survivors recover only one: that whose log ends in the highest term, and of those at the highest index.\n",
        place(last),
        args.bump.bump_revision,
    )
}

fn done(recovered: &Recovered, dir: &Path) -> String {
    format!(
        "recovered: {:x} is the only member of cluster {:x} now, with all that its log holds\n\
         Start it with the flags it had; an --initial-cluster of before is taken, and the recorded member counts:\n  \
           little-raft serve --data-dir {} ...\n\
         Then add members one by one, each with an empty data directory:\n  \
           little-raft member add NAME --peer-urls=http://HOST:PORT\n",
        recovered.member.id.0,
        recovered.cluster,
        dir.display(),
    )
}
