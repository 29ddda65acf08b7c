//! The policy files of a test.

use std::{fs, path::Path};

use super::{
    ADMIN_PORT, CALLBACK_PORT, DIALECTS, GATEWAY_PORT, SCOPE, Setup, World, index_of,
    operator_named,
};

impl World {
    fn gateway_policy(&self, setup: &Setup<'_>) -> String {
        let ip = self.address;
        let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let gateway = format!(
            "listeners: [{{ address: \"{ip}:{GATEWAY_PORT}\" }}]\n\
             admin: {{ address: \"{ip}:{ADMIN_PORT}\", hosts: [gateway] }}\n\
             callbacks: {{ address: \"{ip}:{CALLBACK_PORT}\", url: \"http://{ip}:{CALLBACK_PORT}/callbacks\" }}\n\
             schemas: \"{}\"\nstore: {{ directory: ledger }}\n{}\napis:\n",
            schemas.display(),
            setup.gateway
        );
        if setup.gateway.contains("notifications:") {
            return gateway;
        }
        format!("notifications: {{ private_networks: [127.0.0.0/8] }}\n{gateway}")
    }

    /// Writes the policies: each dialect has an API, each simulated operator its routes.
    pub(super) fn write_policies(&self, setup: &Setup<'_>) {
        let mut gateway = self.gateway_policy(setup);
        let (mut operators, mut routes, mut names) =
            ("operators:\n".to_owned(), format!("{}\nroutes:\n", setup.routes), Vec::new());
        for dialect in DIALECTS {
            gateway += &format!("  - {{ path: /{dialect}/qod/v0, dialect: {dialect} }}\n");
        }
        for dialect in setup.simulated {
            let (name, index) = (operator_named(dialect), index_of(dialect));
            let address = self.operator_address(dialect);
            operators += &format!(
                "  {name}:\n    endpoint: \"http://{address}/qod/v0\"\n    dialect: {dialect}\n    \
                 simulated: true\n    bearer_token_file: bearer\n"
            );
            if *dialect == "devedge" {
                operators += "    x_authorization_file: bearer\n";
            }
            if matches!(*dialect, "camara-1.1.0" | "camara-1.2.0-rc.3") {
                // It sends events to https URLs only.
                operators += "    callbacks: false\n";
            }
            operators += setup.operator;
            routes += &format!("  - {{ number_prefix: \"+491{index:02}\", operator: {name} }}\n");
            routes += &format!("  - {{ network: 10.{index}.0.0/16, operator: {name} }}\n");
            names.push(name);
        }
        for (index, (name, entry)) in setup.operators.iter().enumerate() {
            operators += &format!("  {name}:\n{entry}");
            routes += &format!("  - {{ number_prefix: \"+492{index}\", operator: {name} }}\n");
            names.push((*name).to_owned());
        }
        let (first, last) = (&names[0], &names[setup.simulated.len().max(1) - 1]);
        routes += &format!("  - {{ network: 198.51.100.0/24, operator: {first} }}\n");
        routes += &format!("  - {{ network: 192.168.0.0/16, operator: {first} }}\n");
        routes += &format!("  - {{ network: \"2001:db8::/32\", operator: {last} }}\n");
        routes += &format!("  - {{ realm: op3.example, operator: {last} }}\n");
        gateway += &format!(
            "  - {{ path: /qod/v0, candidates: [{}], fallback: camara-0.10.1 }}\n",
            DIALECTS.join(", ")
        );
        // The profiles of 0.1 have other names.
        let early = operator_named("camara-0.1.0");
        let own = |name: &String| if *name == early { "LOW_LATENCY" } else { "QOS_E" };
        let profile_names: Vec<String> =
            names.iter().map(|name| format!("{name}: {}", own(name))).collect();
        let profile_names = profile_names.join(", ");
        let profiles = format!(
            "profiles:\n  QOS_E: {{ summary: low latency, duration_max: 24h, operators: {{ {profile_names} }} }}\n  \
             QOS_S: {{ summary: small, duration_max: 1h, operators: {{ {}: QOS_S }} }}\n{}",
            first, setup.profiles
        );
        let files = [
            ("gateway.yaml", gateway),
            ("operators.yaml", operators),
            ("routes.yaml", routes),
            ("profiles.yaml", profiles),
            ("clients.yaml", clients_policy(setup, first)),
            ("jwks.json", self.keys.jwks.clone()),
            ("bearer", "operator-token\n".to_owned()),
        ];
        for (name, text) in files {
            fs::write(self.folder.join(name), text).unwrap();
        }
    }
}

/// Some clients may use one operator only.
fn clients_policy(setup: &Setup<'_>, operator: &str) -> String {
    format!(
        "{}\nissuers:\n  - issuer: https://issuer.test\n    audiences: [gateway]\n    \
             jwks_file: jwks.json\n    algorithms: [ES256]\n{}\
             mock_tokens:\n  - {{ token: mock_sandbox_access_token, client: sandbox, scopes: [\"{SCOPE}\"] }}\n\
             clients:\n  app: {{ rate: 100000/s, burst: 100000, sessions_max: 100000 }}\n  \
             other: {{ rate: 100000/s, burst: 100000 }}\n  \
             early: {{ rate: 100000/s, dialect: camara-0.8.1 }}\n  \
             hasty: {{ rate: 1/m, burst: 2 }}\n  small: {{ sessions_max: 2, duration_max: 10m }}\n  \
             narrow: {{ operators: [{}], qos_profiles: [QOS_S] }}\n  \
             sandbox: {{ operators: [{}] }}\n",
        setup.clients, setup.issuers, operator, operator
    )
}
