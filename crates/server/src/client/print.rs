//! Answers as text.

use std::io::{self, Write};
use std::iter;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{ClientError, OutputFormat, json};
use crate::backup::Restored;
use crate::backup::file::Content;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    DeleteRangeResponse, Member, MemberAddResponse, MemberListResponse, PutResponse, RangeResponse,
    ResponseHeader, StatusResponse, TxnResponse,
};
use crate::proto::group::TimingResponse;
use crate::proto::mvccpb::KeyValue;

/// Prints in one format. Keys and values go out as the bytes they are.
pub struct Printer {
    format: OutputFormat,
    pub value_only: bool,
    pub count_only: bool,
    out: io::StdoutLock<'static>,
}

impl Printer {
    pub fn new(format: OutputFormat) -> Self {
        Self {
            format,
            value_only: false,
            count_only: false,
            out: io::stdout().lock(),
        }
    }

    pub fn put(&mut self, answer: &PutResponse) -> Result<(), ClientError> {
        match self.format {
            OutputFormat::Simple => Ok(self.simple_put(answer)?),
            OutputFormat::Json => self.json(&json::put(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn get(&mut self, answer: &RangeResponse) -> Result<(), ClientError> {
        match self.format {
            OutputFormat::Simple if self.count_only => Ok(writeln!(self.out, "{}", answer.count)?),
            OutputFormat::Simple => Ok(self.simple_get(answer)?),
            OutputFormat::Json => self.json(&json::get(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn del(&mut self, answer: &DeleteRangeResponse) -> Result<(), ClientError> {
        match self.format {
            OutputFormat::Simple => Ok(self.simple_del(answer)?),
            OutputFormat::Json => self.json(&json::del(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn txn(&mut self, answer: &TxnResponse) -> Result<(), ClientError> {
        match self.format {
            OutputFormat::Simple => Ok(self.simple_txn(answer)?),
            OutputFormat::Json => self.json(&json::txn(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn status(&mut self, answers: &[(String, StatusResponse)]) -> Result<(), ClientError> {
        let row = |(endpoint, answer): &(String, StatusResponse)| {
            (status_row(endpoint, answer), answer.is_witness)
        };
        let titles = [
            "ENDPOINT",
            "ID",
            "VERSION",
            "DB SIZE",
            "IS LEADER",
            "IS LEARNER",
            "RAFT TERM",
            "RAFT INDEX",
            "RAFT APPLIED INDEX",
            "ERRORS",
        ];
        self.rows(&titles, answers.iter().map(row), || json::status(answers))
    }

    pub fn snapshot_saved(&mut self, path: &Path) -> Result<(), ClientError> {
        Ok(writeln!(self.out, "Snapshot saved at {}", path.display())?)
    }

    pub fn snapshot(&mut self, content: &Content) -> Result<(), ClientError> {
        let summary = content.summary;
        let row = vec![
            format!("{:x}", summary.hash),
            summary.revision.to_string(),
            summary.records.to_string(),
            size(i64::try_from(content.bytes).unwrap_or(i64::MAX)),
        ];
        let titles = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"];
        let rows = iter::once((row, false));
        self.rows(&titles, rows, || json::snapshot(content))
    }

    pub fn restored(&mut self, restored: &Restored) -> Result<(), ClientError> {
        let Restored {
            id,
            cluster,
            data_dir,
            revision,
        } = restored;
        let dir = data_dir.display();
        writeln!(
            self.out,
            "restored: {:x} of cluster {cluster:x}, in {dir}, which begins with revision {revision}\n\
             Restore the other members from the same file by the same flags, then start all:\n  \
               little-raft serve --data-dir {dir} ...",
            id.0
        )?;
        Ok(())
    }

    pub fn members(&mut self, answer: &MemberListResponse) -> Result<(), ClientError> {
        let row = |member: &Member| {
            let state = if member.name.is_empty() {
                "unstarted"
            } else {
                "started"
            };
            let row = vec![
                format!("{:x}", member.id),
                state.into(),
                member.name.clone(),
                member.peer_ur_ls.join(","),
                member.client_ur_ls.join(","),
                member.is_learner.to_string(),
            ];
            (row, member.is_witness)
        };
        let titles = [
            "ID",
            "STATUS",
            "NAME",
            "PEER ADDRS",
            "CLIENT ADDRS",
            "IS LEARNER",
        ];
        self.rows(&titles, answer.members.iter().map(row), || {
            json::members(answer)
        })
    }

    /// As etcdctl: also with what settings the new member is to be started.
    pub fn member_added(
        &mut self,
        name: &str,
        answer: &MemberAddResponse,
    ) -> Result<(), ClientError> {
        match self.format {
            OutputFormat::Simple => Ok(self.simple_member_added(name, answer)?),
            OutputFormat::Json => self.json(&json::member_added(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn member_changed(
        &mut self,
        id: u64,
        what: &str,
        header: &Option<ResponseHeader>,
        members: &[Member],
    ) -> Result<(), ClientError> {
        let cluster = header.as_ref().map_or(0, |header| header.cluster_id);
        match self.format {
            OutputFormat::Simple => Ok(writeln!(
                self.out,
                "Member {id:16x} {what} cluster {cluster:16x}"
            )?),
            OutputFormat::Json => self.json(&json::members_changed(header, members)),
            OutputFormat::Table => no_table(),
        }
    }

    pub fn leader_moved(&mut self, from: u64, to: u64) -> Result<(), ClientError> {
        Ok(writeln!(
            self.out,
            "Leadership transferred from {from:x} to {to:x}"
        )?)
    }

    pub fn timing(&mut self, answer: &TimingResponse) -> Result<(), ClientError> {
        let of = |nanos: u64| Duration::from_nanos(nanos);
        let (heartbeat, election) = (of(answer.heartbeat_ns), of(answer.election_ns));
        let whose = match answer.agreed {
            true => "all replicas",
            false => "this replica's flags; the cluster has agreed on none",
        };
        match self.format {
            OutputFormat::Simple => Ok(writeln!(
                self.out,
                "heartbeat {heartbeat:?}, election {election:?} ({whose})"
            )?),
            OutputFormat::Json => self.json(&json::timing(answer)),
            OutputFormat::Table => no_table(),
        }
    }

    fn simple_member_added(&mut self, name: &str, answer: &MemberAddResponse) -> io::Result<()> {
        let cluster = answer.header.as_ref().map_or(0, |header| header.cluster_id);
        let added = answer.member.clone().unwrap_or_default();
        let part = match (added.is_witness, added.is_learner) {
            (true, _) => " as witness",
            (_, true) => " as learner",
            _ => "",
        };
        writeln!(
            self.out,
            "Member {:16x} added{part} to cluster {cluster:16x}",
            added.id
        )?;
        let called = |member: &Member| match member.id == added.id {
            true => name.to_owned(),
            false => member.name.clone(),
        };
        let urls = |member: &Member| {
            let named = member
                .peer_ur_ls
                .iter()
                .map(|url| format!("{}={url}", called(member)));
            named.collect::<Vec<_>>().join(",")
        };
        let all: Vec<String> = answer.members.iter().map(urls).collect();
        writeln!(self.out, "\nETCD_NAME={name:?}")?;
        writeln!(self.out, "ETCD_INITIAL_CLUSTER={:?}", all.join(","))?;
        let own = added.peer_ur_ls.join(",");
        writeln!(self.out, "ETCD_INITIAL_ADVERTISE_PEER_URLS={own:?}")?;
        writeln!(self.out, "ETCD_INITIAL_CLUSTER_STATE=\"existing\"")?;
        match added.is_witness {
            true => writeln!(self.out, "LITTLE_RAFT_WITNESS=\"true\""),
            false => Ok(()),
        }
    }

    /// As etcdctl's, with one column more if one of them is a witness.
    fn rows(
        &mut self,
        titles: &[&str],
        rows: impl Iterator<Item = (Vec<String>, bool)>,
        json: impl Fn() -> Value,
    ) -> Result<(), ClientError> {
        let (mut rows, is_witness): (Vec<Vec<String>>, Vec<bool>) = rows.unzip();
        let mut titles = titles.to_vec();
        if is_witness.contains(&true) {
            titles.push("IS WITNESS");
            let cells = is_witness.iter().map(bool::to_string);
            rows.iter_mut()
                .zip(cells)
                .for_each(|(row, it)| row.push(it));
        }
        match self.format {
            OutputFormat::Simple => {
                for row in rows {
                    writeln!(self.out, "{}", row.join(", "))?;
                }
                Ok(())
            }
            OutputFormat::Json => self.json(&json()),
            OutputFormat::Table => Ok(self.out.write_all(table(&titles, &rows).as_bytes())?),
        }
    }

    fn json(&mut self, value: &Value) -> Result<(), ClientError> {
        Ok(writeln!(self.out, "{value}")?)
    }

    fn simple_put(&mut self, answer: &PutResponse) -> io::Result<()> {
        writeln!(self.out, "OK")?;
        answer.prev_kv.iter().try_for_each(|kv| self.key_value(kv))
    }

    fn simple_get(&mut self, answer: &RangeResponse) -> io::Result<()> {
        answer.kvs.iter().try_for_each(|kv| self.key_value(kv))
    }

    fn simple_del(&mut self, answer: &DeleteRangeResponse) -> io::Result<()> {
        writeln!(self.out, "{}", answer.deleted)?;
        answer.prev_kvs.iter().try_for_each(|kv| self.key_value(kv))
    }

    fn simple_txn(&mut self, answer: &TxnResponse) -> io::Result<()> {
        writeln!(
            self.out,
            "{}",
            if answer.succeeded {
                "SUCCESS"
            } else {
                "FAILURE"
            }
        )?;
        for response in &answer.responses {
            writeln!(self.out)?;
            match &response.response {
                Some(Response::ResponseRange(answer)) => self.simple_get(answer)?,
                Some(Response::ResponsePut(answer)) => self.simple_put(answer)?,
                Some(Response::ResponseDeleteRange(answer)) => self.simple_del(answer)?,
                Some(Response::ResponseTxn(answer)) => self.simple_txn(answer)?,
                None => {}
            }
        }
        Ok(())
    }

    fn key_value(&mut self, kv: &KeyValue) -> io::Result<()> {
        if !self.value_only {
            self.out.write_all(&kv.key)?;
            self.out.write_all(b"\n")?;
        }
        self.out.write_all(&kv.value)?;
        self.out.write_all(b"\n")
    }
}

fn no_table() -> Result<(), ClientError> {
    Err(ClientError::Usage(
        "-w table is for status and member list; use simple or json".into(),
    ))
}

fn status_row(endpoint: &str, answer: &StatusResponse) -> Vec<String> {
    let member = answer.header.as_ref().map_or(0, |header| header.member_id);
    vec![
        endpoint.into(),
        format!("{member:x}"),
        answer.version.clone(),
        size(answer.db_size),
        (answer.leader == member && member != 0).to_string(),
        answer.is_learner.to_string(),
        answer.raft_term.to_string(),
        answer.raft_index.to_string(),
        answer.raft_applied_index.to_string(),
        answer.errors.join(", "),
    ]
}

/// As etcdctl shows it: decimal units, one digit behind the point below ten.
fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < 4 {
        value /= 1000.0;
        unit += 1;
    }
    let unit = ["B", "kB", "MB", "GB", "TB"][unit];
    if value < 10.0 && bytes >= 10 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let rule: String = widths
        .iter()
        .map(|width| format!("+{}", "-".repeat(width + 2)))
        .collect::<String>()
        + "+\n";
    let mut text = rule.clone();
    for (title, width) in titles.iter().zip(&widths) {
        text += &format!("| {title:^width$} ");
    }
    text += "|\n";
    text += &rule;
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("| {cell:>width$} ");
        }
        text += "|\n";
    }
    text + &rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (74_000, "74 kB"),
            (1_500_000, "1.5 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn tables_line_up() {
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["long".to_owned(), "7".to_owned()],
        ];
        let expected = "+------+----+\n| NAME | N  |\n+------+----+\n|    a | 10 |\n| long |  7 |\n+------+----+\n";
        assert_eq!(table(&["NAME", "N"], &rows), expected);
    }
}
