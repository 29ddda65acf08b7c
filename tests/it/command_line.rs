//! `docs/reference/cli.md` describes every command and every option.

use std::fs;

use crate::world::World;

/// The commands, with the sub-commands of some of them.
const COMMANDS: &[&[&str]] = &[
    &["serve"],
    &["check"],
    &["explain"],
    &["reload"],
    &["policy"],
    &["policy", "diff"],
    &["schema"],
    &["compile-routes"],
    &["sessions"],
    &["sessions", "list"],
    &["sessions", "show"],
    &["sessions", "export"],
    &["sessions", "forget"],
    &["store"],
    &["store", "migrate"],
    &["store", "copy"],
    &["store", "status"],
    &["replicas"],
    &["notifications"],
    &["notifications", "list"],
    &["notifications", "retry"],
    &["notifications", "drop"],
    &["usage"],
    &["usage", "export"],
    &["usage", "report"],
    &["simulate-operator"],
    &["demo"],
];

#[test]
fn every_command_and_option_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/cli.md");
    let documentation = fs::read_to_string(path).unwrap();
    let (_, help) = World::run(&["--help"]);
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    for name in commands.lines().filter_map(|line| line.split_whitespace().next()) {
        let listed = COMMANDS.iter().any(|command| command == &[name]);
        assert!(name == "help" || listed, "`{name}` is not in the list of this test");
    }
    for command in COMMANDS {
        let section = format!("\n## {}\n", command[0]);
        let (_, section) = documentation.split_once(&section).expect(command[0]);
        let section = section.split("\n## ").next().unwrap();
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let (succeeded, help) = World::run(&arguments);
        assert!(succeeded, "{help}");
        for word in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let option = word.trim_end_matches([',', '.', ']', ')', '`']);
            assert!(
                option == "--help" || section.contains(option),
                "cli.md does not describe `{option}` of `{}`",
                command.join(" ")
            );
        }
    }
}
