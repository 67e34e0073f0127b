//! Arguments, named as etcdctl's, and the requests they stand for.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};

use super::member_args::{IdArgs, MemberCommand, TimingCommand};
use super::snapshot_calls::SnapshotCommand;
use super::{ClientError, DeleteRangeRequest, PutRequest, RangeRequest};
use crate::proto::etcdserverpb::range_request;

/// How to reach a server, and how to print what it says.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Servers to ask, separated by commas: the first that answers is taken.
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:2379",
        value_delimiter = ','
    )]
    pub endpoints: Vec<String>,
    /// How to print.
    #[arg(long, short, global = true, value_enum, default_value = "simple")]
    pub write_out: OutputFormat,
    /// Seconds to wait for a connection.
    #[arg(long, global = true, default_value = "2s", value_parser = seconds)]
    pub dial_timeout: Duration,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, default_value = "5s", value_parser = seconds)]
    pub command_timeout: Duration,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// As etcdctl does by default.
    Simple,
    /// One JSON object; keys and values in base64.
    Json,
    /// A drawn table, for status and members.
    Table,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("write it like 500ms, 5s or 1m".into()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "write it like 500ms, 5s or 1m".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

/// What to ask.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Puts a value; reads it from standard input if it isn't given.
    Put(PutArgs),
    /// Gets a key or a range of keys.
    Get(GetArgs),
    /// Deletes a key or a range of keys.
    Del(DelArgs),
    /// Reads a transaction from standard input: compares, a blank line, what to do if they hold, a blank line, what
    /// to do if not.
    Txn(TxnArgs),
    /// How each endpoint stands.
    Status,
    /// Who belongs to the cluster: `member list`.
    Members,
    /// Changes who belongs to the cluster.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Hands leadership over to another voter; the leader must be among the endpoints.
    MoveLeader(IdArgs),
    /// Copies of the store, as backups.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// The timeouts of the whole cluster.
    #[command(subcommand)]
    Timing(TimingCommand),
}

/// Of `txn`.
#[derive(Args, Clone, Debug)]
pub struct TxnArgs {
    /// Accepted for etcdctl's sake.
    #[arg(long, short)]
    pub interactive: bool,
}

/// Of `put`.
#[derive(Args, Clone, Debug)]
pub struct PutArgs {
    key: String,
    value: Option<String>,
    /// Also prints what was there before.
    #[arg(long)]
    prev_kv: bool,
    /// Keeps the value that is there.
    #[arg(long)]
    ignore_value: bool,
    /// Keeps the lease that is there.
    #[arg(long)]
    ignore_lease: bool,
    /// Binds the key to a lease, in hexadecimal.
    #[arg(long, default_value = "0")]
    lease: String,
}

impl PutArgs {
    pub fn request(self, may_read_value: bool) -> Result<PutRequest, ClientError> {
        let value = match self.value {
            Some(value) => value.into_bytes(),
            None if self.ignore_value => Vec::new(),
            None if may_read_value => {
                let mut value = Vec::new();
                io::stdin().read_to_end(&mut value)?;
                value
            }
            None => {
                return Err(ClientError::Usage(format!(
                    "put {}: the value is missing",
                    self.key
                )));
            }
        };
        let lease = i64::from_str_radix(&self.lease, 16).map_err(|_| {
            ClientError::Usage(format!(
                "--lease: {:?} is not a hexadecimal number",
                self.lease
            ))
        })?;
        Ok(PutRequest {
            key: self.key.into(),
            value: value.into(),
            lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

/// Of `get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    key: String,
    range_end: Option<String>,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on.
    #[arg(long)]
    from_key: bool,
    /// As of this revision.
    #[arg(long, default_value_t = 0)]
    rev: i64,
    #[arg(long, value_enum, ignore_case = true)]
    order: Option<Order>,
    #[arg(long, value_enum, ignore_case = true)]
    sort_by: Option<SortBy>,
    /// At most so many keys.
    #[arg(long, default_value_t = 0)]
    limit: i64,
    /// l: linearizable; s: whatever this server knows.
    #[arg(long, value_parser = ["l", "s"], default_value = "l")]
    consistency: String,
    /// Without values.
    #[arg(long)]
    keys_only: bool,
    /// Only how many there are.
    #[arg(long)]
    pub count_only: bool,
    /// Only values.
    #[arg(long)]
    pub print_value_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    Ascend,
    Descend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortBy {
    Create,
    Key,
    Modify,
    Value,
    Version,
}

impl GetArgs {
    pub fn request(&self) -> Result<RangeRequest, ClientError> {
        if self.keys_only && self.count_only {
            return Err(ClientError::Usage(
                "--keys-only and --count-only can't be used together".into(),
            ));
        }
        let (key, range_end) = range(
            &self.key,
            self.range_end.as_deref(),
            self.prefix,
            self.from_key,
        )?;
        let sort_target = match self.sort_by {
            None | Some(SortBy::Key) => range_request::SortTarget::Key,
            Some(SortBy::Create) => range_request::SortTarget::Create,
            Some(SortBy::Modify) => range_request::SortTarget::Mod,
            Some(SortBy::Value) => range_request::SortTarget::Value,
            Some(SortBy::Version) => range_request::SortTarget::Version,
        };
        let sort_order = match self.order {
            None => range_request::SortOrder::None,
            Some(Order::Ascend) => range_request::SortOrder::Ascend,
            Some(Order::Descend) => range_request::SortOrder::Descend,
        };
        Ok(RangeRequest {
            key,
            range_end,
            revision: self.rev,
            limit: self.limit,
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable: self.consistency == "s",
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..RangeRequest::default()
        })
    }
}

/// Of `del`.
#[derive(Args, Clone, Debug)]
pub struct DelArgs {
    key: String,
    range_end: Option<String>,
    /// All keys that begin so.
    #[arg(long)]
    prefix: bool,
    /// All keys from this one on.
    #[arg(long)]
    from_key: bool,
    /// Also prints what was deleted.
    #[arg(long)]
    prev_kv: bool,
}

impl DelArgs {
    pub fn request(&self) -> Result<DeleteRangeRequest, ClientError> {
        let (key, range_end) = range(
            &self.key,
            self.range_end.as_deref(),
            self.prefix,
            self.from_key,
        )?;
        Ok(DeleteRangeRequest {
            key,
            range_end,
            prev_kv: self.prev_kv,
        })
    }
}

fn range(
    key: &str,
    end: Option<&str>,
    prefix: bool,
    from_key: bool,
) -> Result<(Bytes, Bytes), ClientError> {
    if u8::from(end.is_some()) + u8::from(prefix) + u8::from(from_key) > 1 {
        let text = "a range end, --prefix and --from-key exclude each other".to_owned();
        return Err(ClientError::Usage(text));
    }
    let all = Bytes::from_static(&[0]);
    // An empty key stands for the first there could be, where a range begins.
    let first = if key.is_empty() && (prefix || from_key) {
        all.clone()
    } else {
        Bytes::from(key.to_owned())
    };
    let end = match end {
        Some(end) => Bytes::from(end.to_owned()),
        None if from_key => all,
        None if prefix => prefix_end(key.as_bytes()),
        None => Bytes::new(),
    };
    Ok((first, end))
}

/// The first key behind all that begin with `prefix`.
fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(&[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_behind_their_last_key() {
        assert_eq!(prefix_end(b"ab"), &b"ac"[..]);
        assert_eq!(prefix_end(b"a\xff"), &b"b"[..]);
        assert_eq!(prefix_end(b"\xff\xff"), &b"\0"[..]);
        assert_eq!(prefix_end(b""), &b"\0"[..]);
    }

    #[test]
    fn durations_are_read_with_units() {
        assert_eq!(seconds("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        assert!(seconds("5 parsecs").is_err());
        assert!(seconds("-1s").is_err());
    }
}
