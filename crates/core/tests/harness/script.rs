//! The text of a script: steps in, the same steps with today's transcript out.

use super::world::World;

/// Plays a script and answers its text with what happened in place of what was expected.
pub fn play(text: &str) -> String {
    let mut world = World::default();
    let mut played: Vec<String> = Vec::new();
    let mut expected: Vec<&str> = Vec::new();
    let mut happened: Option<Vec<String>> = None;
    let mut commands = 0;
    // A blank line ends a step; one more ends the last.
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            let lines = happened.take().unwrap_or_else(|| world.take_transcript());
            close_step(&mut played, commands > 0, &expected, lines);
            (commands, expected) = (0, Vec::new());
            played.push(String::new());
        } else if line == "----" {
            happened = Some(world.take_transcript());
            expected.push(line);
        } else if happened.is_some() {
            expected.push(line);
        } else {
            played.push(line.to_owned());
            if !line.starts_with('#') {
                commands += 1;
                world.obey(line);
            }
        }
    }
    played.pop();
    played.join("\n") + "\n"
}

/// Set-up that decides nothing needs no transcript; where one is written, nothing is said in words.
fn close_step(played: &mut Vec<String>, is_step: bool, expected: &[&str], happened: Vec<String>) {
    if !is_step || (happened.is_empty() && expected.is_empty()) {
        return;
    }
    played.push("----".to_owned());
    if !happened.is_empty() {
        return played.extend(happened);
    }
    let reason = expected.iter().find(|line| line.starts_with("(nothing"));
    played.push(reason.unwrap_or(&"(nothing)").to_string());
}

/// The lines around the first difference.
pub fn difference(expected: &str, happened: &str) -> String {
    let (expected, happened): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), happened.lines().collect());
    let same = expected
        .iter()
        .zip(&happened)
        .take_while(|(a, b)| a == b)
        .count();
    let from = expected[..same]
        .iter()
        .rposition(|line| line.is_empty())
        .unwrap_or(0);
    let show = |lines: &[&str]| -> String {
        let until = lines.len().min(same + 12);
        lines[from.min(until)..until]
            .iter()
            .map(|line| format!("    {line}\n"))
            .collect()
    };
    format!(
        "  expected, from line {}:\n{}  happened:\n{}",
        from + 1,
        show(&expected),
        show(&happened)
    )
}
