//! Corruption of files at the level of bytes.

use std::fmt::Write as _;

use super::*;

// Strings with a meaning in YAML, in CSV, or in a terminal.
const WORDS: [&str; 52] = [
    "\u{0}",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{1b}[31m",
    "é",
    "𝄞",
    "\u{202e}",
    ":",
    ": ",
    "- ",
    "? ",
    "# ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "|",
    ">",
    "|2-\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!x ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "~",
    "null",
    "true",
    ".nan",
    ".inf",
    "-0",
    "1e999",
    "18446744073709551616",
    "-9223372036854775809",
    "0x7f",
    "0o17",
    "1_000",
    "99999999999999999999999s",
    "+4915188888888",
    "../../../../etc/passwd",
    "::/0",
    "255.255.255.255/33",
];

pub(super) fn word(random: &mut StdRng) -> &'static str {
    WORDS.choose(random).unwrap()
}

/// Random edits at random positions.
pub(super) fn edited(random: &mut StdRng, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..1_u32 << random.random_range(0..6_u32).saturating_sub(2) {
        let from = random.random_range(0..=bytes.len());
        let length = 1 << random.random_range(0..9);
        let to = (from + random.random_range(0..=length)).min(bytes.len());
        match random.random_range(0..12) {
            0..3 => drop(bytes.splice(from..from, word(random).bytes())),
            3 => drop(bytes.drain(from..to)),
            4 => {
                let copy = bytes[from..to].to_vec();
                let at = random.random_range(0..=bytes.len());
                bytes.splice(at..at, copy);
            }
            5 => {
                let start = random.random_range(0..=other.len());
                let end = (start + length).min(other.len());
                bytes.splice(from..to, other[start..end].iter().copied());
            }
            6 if from < bytes.len() => bytes[from] ^= 1 << random.random_range(0..8),
            7 if from < bytes.len() => bytes[from] = random.random(),
            8 if random.random_ratio(1, 4) => bytes.truncate(from),
            9 if random.random_ratio(1, 4) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let end = ["\r\n", "\r", "\n\n", "\n\t"].choose(random).unwrap();
                bytes = text.replace('\n', end).into_bytes();
            }
            10 => number(random, &mut bytes, from),
            _ => line(random, &mut bytes),
        }
    }
    bytes
}

// Replaces the next number.
fn number(random: &mut StdRng, bytes: &mut Vec<u8>, from: usize) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit) else { return };
    let start = from + start;
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let numbers = ["0", "1", "-1", "65536", "4294967296", "9223372036854775808", "1.5", "007"];
    bytes.splice(start..start + length, numbers.choose(random).unwrap().bytes());
}

// Removes, duplicates, swaps or indents a line.
fn line(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
    match random.random_range(0..4) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(other, lines[one].clone()),
        2 => lines.swap(one, other),
        _ => drop(lines[one].splice(0..0, *b"  ")),
    }
    *bytes = lines.join(&b'\n');
}

/// An extreme amount of something, at most `large` bytes.
pub(super) fn extreme(random: &mut StdRng, seed: &[u8], large: usize) -> Vec<u8> {
    let count = 1 << random.random_range(4..=large.ilog2());
    let many = |text: &str| text.repeat((count / text.len()).max(1));
    let numbered = |head: &str, each: &dyn Fn(usize) -> String| {
        let mut text = head.to_owned();
        for place in 0.. {
            if text.len() >= count {
                break;
            }
            text += &each(place);
        }
        text
    };
    let made = match random.random_range(0..20) {
        0 => many("["),
        1 => many("{a: "),
        2 => many("- "),
        3 => numbered("", &|level| " ".repeat(level % 4096) + "a:\n"),
        4 => bomb(random),
        5 => format!("a: &a [x]\nb: [{}]", many("*a,")),
        6 => format!("{}: 1\n", many("k")),
        7 => format!("a: {}\n", many("9")),
        8 => format!("routes: '{}\n'", many("x")),
        9 => format!("operators: |\n {}\n", many("x\n ")),
        10 => numbered("", &|place| format!("k{place}: {place}\n")),
        11 => numbered("routes:\n", &|place| {
            format!("  - {{ number: \"+49{place:08}\", operator: o{place} }}\n")
        }),
        12 => numbered("operators:\n", &|place| format!("  o{place}: {{}}\n")),
        13 => numbered("clients:\n", &|place| format!("  c{place}: {{ operators: [o{place}] }}\n")),
        14 => numbered("profiles:\n", &|place| {
            format!("  P{place}: {{ duration_max: 1h, operators: {{ o{place}: x }} }}\n")
        }),
        15 => numbered("dialects:\n", &|place| {
            format!("  d{place}: {{ based_on: camara-1.1.0, codes: {{ k{place}: {{}} }} }}\n")
        }),
        16 => numbered("number,operator\n", &|place| format!("+49{place:09},o{}\n", place % 300)),
        17 => numbered("", &|place| format!("&a{place} ")),
        18 => "\u{0}".repeat(count),
        _ => many(&String::from_utf8_lossy(seed)),
    };
    // With or without the valid content before it.
    let head = String::from_utf8_lossy(seed);
    if random.random() {
        made.into_bytes()
    } else {
        (head.into_owned() + "\n" + &made).into_bytes()
    }
}

fn bomb(random: &mut StdRng) -> String {
    let (width, levels) = (random.random_range(2..20), random.random_range(2..40));
    let mut text = format!("a0: &a0 [{}]\n", vec!["x"; width].join(","));
    for level in 1..levels {
        let aliases = vec![format!("*a{}", level - 1); width].join(",");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    text
}
