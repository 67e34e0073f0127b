//! Runs seeds until one fails, and says how to repeat it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use little_raft_sim::{Options, Report, run};

const USAGE: &str = "\
usage: little-raft-sim [--seeds N] [--start S] [--minutes M] [--replicas N|LOW..HIGH] [--json] [--trace] [--go-on]
  --seeds N       run N seeds (default 200)
  --start S       the first seed (default 1)
  --minutes M     run until M minutes have passed, whatever --seeds says
  --replicas R    so many replicas, or a range such as 3..7 (default 1..7)
  --json          one JSON object a seed
  --trace         print all that happens
  --go-on         run all seeds even if some fail";

struct Arguments {
    seeds: u64,
    start: u64,
    minutes: Option<u64>,
    options: Options,
    json: bool,
    go_on: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let began = Instant::now();
    let (mut failed, mut ran) = (0, 0);
    for seed in arguments.start.. {
        if is_over(&arguments, ran, began) {
            break;
        }
        let report = run(seed, &arguments.options);
        ran += 1;
        print(&report, &arguments);
        if report.violation.is_some() {
            failed += 1;
            if !arguments.go_on {
                break;
            }
        }
    }
    if !arguments.json {
        let seconds = began.elapsed().as_secs_f64();
        println!("{ran} seeds in {seconds:.1} s, {failed} failed");
    }
    ExitCode::from(u8::from(failed > 0))
}

fn is_over(arguments: &Arguments, ran: u64, began: Instant) -> bool {
    match arguments.minutes {
        Some(minutes) => began.elapsed() >= Duration::from_secs(60 * minutes),
        None => ran >= arguments.seeds,
    }
}

fn print(report: &Report, arguments: &Arguments) {
    if arguments.json {
        println!("{}", json(report));
    } else {
        println!(
            "seed {:>4}: {} replicas, {:>3} s, {:>6} events, {:>5} committed, {:>5} acknowledged, {:>5} reads, \
             {:>5} refused, {:>4} unknown, hash {:016x}",
            report.seed,
            report.replicas,
            report.virtual_nanos / 1_000_000_000,
            report.events,
            report.committed,
            report.acknowledged,
            report.reads,
            report.refused,
            report.unknown,
            report.hash
        );
    }
    if let Some(violation) = &report.violation {
        let (low, high) = arguments.options.replicas;
        eprintln!(
            "seed {} failed: {violation}\nrepeat with: cargo run -p little-raft-sim --release -- --start {} --seeds 1 \
             --replicas {low}..{high} --trace",
            report.seed, report.seed
        );
    }
}

fn json(report: &Report) -> String {
    let violation = match &report.violation {
        Some(violation) => format!("{:?}", violation.to_string()),
        None => "null".into(),
    };
    format!(
        "{{\"seed\": {}, \"replicas\": {}, \"virtual_ms\": {}, \"events\": {}, \"committed\": {}, \"acknowledged\": {}, \
         \"reads\": {}, \"refused\": {}, \"unknown\": {}, \"hash\": \"{:016x}\", \"violation\": {violation}}}",
        report.seed,
        report.replicas,
        report.virtual_nanos / 1_000_000,
        report.events,
        report.committed,
        report.acknowledged,
        report.reads,
        report.refused,
        report.unknown,
        report.hash
    )
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 200,
        start: 1,
        minutes: None,
        options: Options::default(),
        json: false,
        go_on: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(&value()?)?,
            "--start" => arguments.start = number(&value()?)?,
            "--minutes" => arguments.minutes = Some(number(&value()?)?),
            "--replicas" => arguments.options.replicas = range(&value()?)?,
            "--json" => arguments.json = true,
            "--trace" => arguments.options.trace = true,
            "--go-on" => arguments.go_on = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    if low == 0 || low > high || high > 9 {
        return Err(format!("{text} is no range of replicas between 1 and 9"));
    }
    Ok((low, high))
}
