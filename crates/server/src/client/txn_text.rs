//! A transaction as text, in etcdctl's format:
//!
//! ```text
//! mod("key") > "0"
//! value("other") = "x"
//!
//! put key "new value"
//! get other
//!
//! get key
//! ```

use bytes::Bytes;
use clap::{Parser, Subcommand};

use super::args::{DelArgs, GetArgs, PutArgs};
use super::{ClientError, Compare, RequestOp, TxnRequest};
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request;

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Subcommand)]
enum Operation {
    Put(PutArgs),
    Get(GetArgs),
    Del(DelArgs),
}

/// Reads compares, operations if they hold, operations if not; a blank line ends each part.
///
/// # Errors
/// Says which line can't be read, and why.
pub fn parse(text: &str) -> Result<TxnRequest, ClientError> {
    let mut lines = text.lines().map(str::trim);
    let mut part = || {
        lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .collect::<Vec<_>>()
    };
    let (compares, success, failure) = (part(), part(), part());
    let operations = |lines: Vec<&str>| {
        lines
            .into_iter()
            .map(operation)
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(TxnRequest {
        compare: compares
            .into_iter()
            .map(compare)
            .collect::<Result<_, _>>()?,
        success: operations(success)?,
        failure: operations(failure)?,
    })
}

fn bad(line: &str, reason: &str) -> ClientError {
    ClientError::Usage(format!("txn: {line:?}: {reason}"))
}

fn operation(line: &str) -> Result<RequestOp, ClientError> {
    let words = words(line).ok_or_else(|| bad(line, "a quotation mark is missing"))?;
    let parsed =
        Line::try_parse_from(words).map_err(|error| bad(line, &error.render().to_string()))?;
    let request = match parsed.operation {
        Operation::Put(args) => Request::RequestPut(args.request(false)?),
        Operation::Get(args) => Request::RequestRange(args.request()?),
        Operation::Del(args) => Request::RequestDeleteRange(args.request()?),
    };
    Ok(RequestOp {
        request: Some(request),
    })
}

/// Splits at blanks outside of quotation marks.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let mut word = String::new();
        if rest.starts_with('"') {
            (word, rest) = quoted(rest)?;
        } else if let Some(inner) = rest.strip_prefix('\'') {
            let (text, after) = inner.split_once('\'')?;
            word.push_str(text);
            rest = after;
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            word.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_start();
    }
    Some(words)
}

/// Reads a text in quotation marks, with Go's commonest escapes, and returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &inner[at + 1..])),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                other => other,
            }),
            c => out.push(c),
        }
    }
    None
}

fn compare(line: &str) -> Result<Compare, ClientError> {
    let form = "write it like mod(\"key\") > \"0\"";
    let (target, rest) = line.split_once('(').ok_or_else(|| bad(line, form))?;
    let (key, rest) = quoted(rest.trim_start()).ok_or_else(|| bad(line, form))?;
    let rest = rest
        .trim_start()
        .strip_prefix(')')
        .ok_or_else(|| bad(line, form))?;
    let (operator, rest) = rest
        .trim_start()
        .split_at_checked(1)
        .ok_or_else(|| bad(line, form))?;
    let (result, rest) = match operator {
        "=" => (CompareResult::Equal, rest),
        ">" => (CompareResult::Greater, rest),
        "<" => (CompareResult::Less, rest),
        "!" if rest.starts_with('=') => (CompareResult::NotEqual, &rest[1..]),
        _ => return Err(bad(line, "the operators are =, !=, > and <")),
    };
    let rest = rest.trim();
    let value = match quoted(rest) {
        Some((value, "")) => value,
        _ if !rest.starts_with('"') => rest.to_owned(),
        _ => return Err(bad(line, form)),
    };
    let number = || {
        value
            .parse::<i64>()
            .map_err(|_| bad(line, "a whole number belongs on the right"))
    };
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (
            CompareTarget::Create,
            TargetUnion::CreateRevision(number()?),
        ),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number()?)),
        _ => return Err(bad(line, "compare version, create, mod, value or lease")),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(union),
        ..Compare::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_are_read() {
        let text = "mod(\"key 1\") > \"0\"\nval(\"b\")!=\"x\"\n\nput key1 \"over \\\"written\\\"\"\nget k --prefix\n\ndel k\n\n";
        let txn = parse(text).unwrap();
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(txn.compare[0].key, "key 1");
        assert_eq!(
            txn.compare[0].target_union,
            Some(TargetUnion::ModRevision(0))
        );
        assert_eq!(txn.compare[1].result, CompareResult::NotEqual as i32);
        let Some(Request::RequestPut(put)) = &txn.success[0].request else {
            panic!("{txn:?}");
        };
        assert_eq!(put.value, "over \"written\"");
        assert_eq!((txn.success.len(), txn.failure.len()), (2, 1));
        assert_eq!(parse("").unwrap(), TxnRequest::default());
    }

    #[test]
    fn what_cannot_be_read_is_shown() {
        let cases = [
            "mod(key) > 0\n",
            "mod(\"key\") ~ 0\n",
            "size(\"key\") = 0\n",
            "mod(\"key\") = x\n",
            "\nput a\n",
            "\nfly\n",
            "\nput \"a\n",
        ];
        for text in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("txn: ") || error.starts_with("put a"),
                "{text:?}: {error}"
            );
        }
    }
}
