use super::*;

#[test]
fn probe() {
    for text in [
        "a: 1\nb:\n  - x: +34\n    y: 2001:db8::/32\n  - {z: 10/s, q: 0x10, t: yes, u: true}\n",
        "",
        "# only\n",
        "a: [",
        "a: 1\na: 2\n",
        "a: b: c",
        "\tx: 1",
        "a: *nope",
        "a: !foo bar",
        "a: .nan",
        "1: x",
        "? [a]\n: b",
        "a: 1\n---\nb: 2\n",
        "null: 3",
        "a:\n",
        "&x a: &y {b: *y}",
        "a: 18446744073709551616",
        "a: \"\\q\"",
        "base: &b {x: 1}\nz:\n  <<: *b\n  y: 2\n",
        "a: \u{1}",
        "~: 1",
        "'': 1",
        "a: 'x",
        "- 1",
        "true: 1",
        "a: !!str 5",
        "a: !!binary aGVsbG8=",
        "\u{feff}a: 1",
    ] {
        match read(text) {
            Ok(node) => println!(
                "{text:?}\n   {} @ {:?}",
                node.to_json(),
                node.at("/b/1/z").map(|n| n.place)
            ),
            Err(e) => println!("{text:?}\n   {e:?}"),
        }
    }
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..10 {
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(",")));
    }
    println!("{:?}", read(&bomb).map(|_| ()));
    println!("{:?}", read(&"[".repeat(100)).map(|_| ()));
    println!("{:?}", read(&"a:\n".chars().cycle().take(0).collect::<String>()).map(|_| ()));
    let deep: String = (0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    println!("{:?}", read(&deep).map(|_| ()));
}
