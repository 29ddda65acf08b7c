//! Tests of the GSMA Open Gateway section of operators.

use super::{PolicyFolder, assert_error};

const BURST: &str = "    burst: 1000";
const HEADER: &str = "    x_authorization_file: simulated.token";

#[test]
fn operator_id_defaults_to_the_operator_name() {
    let folder = PolicyFolder::new();
    let gsma = "    gsma: { operator_id: TELEFONICA_ES, networks: [\"21407\", \"21405\"] } #";
    folder.change("operators.yaml", BURST, gsma);
    let operators = folder.load().unwrap().operators;
    let gsma_of = |name: &str| {
        let found = operators.iter().find(|operator| *operator.id.0 == *name);
        &found.unwrap().gsma
    };
    assert_eq!(gsma_of("telefonica-es").operator_id, "TELEFONICA_ES");
    assert_eq!(gsma_of("telefonica-es").networks, ["21407", "21405"]);
    assert_eq!(gsma_of("tmobile-us").operator_id, "tmobile-us");
}

#[test]
fn operator_ids_and_networks_are_unique() {
    let to = "    gsma: { operator_id: §telefonica-es } #";
    assert_error("operators.yaml", HEADER, to, "operator id already in use by `telefonica-es`");
    let to = "    gsma: { networks: [\"31026\", §\"31026\"] } #";
    assert_error("operators.yaml", HEADER, to, "network already in use by `tmobile-us`");
    let to = "    gsma: { networks: [§31026] } #";
    assert_error(
        "operators.yaml",
        HEADER,
        to,
        "expected the MCC and MNC of a network, 5 or 6 digits in quotes",
    );
}
