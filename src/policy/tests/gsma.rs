//! What operators are called in GSMA's Open Gateway.

use super::{Folder, assert_fault};

const BURST: &str =
    "    burst: 1000                         # so many at once; default: as many as in one period";
const PROOF: &str = "    # proof_key_file: proof.pem         # or: a proof of each call is signed with this RSA key";

#[test]
fn an_operator_is_called_there_as_it_says_or_as_here() {
    let folder = Folder::new();
    let gsma = "    gsma: { operator_id: TELEFONICA_ES, networks: [\"21407\", \"21405\"] }";
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
fn a_name_and_a_network_are_one_operators() {
    let to = "    gsma: { operator_id: §telefonica-es }";
    assert_fault("operators.yaml", PROOF, to, "`telefonica-es` is called so already");
    let to = "    gsma: { networks: [\"31026\", §\"31026\"] }";
    assert_fault("operators.yaml", PROOF, to, "this is a network of `tmobile-us` already");
    let to = "    gsma: { networks: [§31026] }";
    assert_fault(
        "operators.yaml",
        PROOF,
        to,
        "expected a network's MCC and MNC, 5 or 6 digits in quotes",
    );
}
