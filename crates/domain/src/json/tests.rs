use super::*;

fn fault(text: impl AsRef<[u8]>) -> Option<Fault> {
    check(text.as_ref()).err().map(|m| m.fault)
}

#[test]
fn passes_every_json_value_as_it_is_written() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.10",
        "1E+2",
        "1e-2",
        "-12.5e10",
        "1e999",
        "-1e-999",
        "\"\"",
        "\" \u{7f} é 😀\"",
        r#""\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00""#,
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,[2,[3]],{}]",
        "\t\r\n {\"a\" : 1 , \"b\":[ null ]} \n",
        r#"{"":1," ":2}"#,
        r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}"#,
        r#"{"a":1,"A":2,"á":3,"a\u0301":4}"#,
    ] {
        assert_eq!(check(text.as_bytes()), Ok(text));
    }
    let long = "9".repeat(100);
    assert_eq!(check(long.as_bytes()), Ok(long.as_str()));
}

#[test]
fn says_what_is_wrong() {
    use Fault::*;
    for (text, expected) in [
        ("", End),
        (" ", End),
        ("{", End),
        ("[", End),
        ("[1", End),
        ("[1,", End),
        ("{\"a\"", End),
        ("{\"a\":", End),
        ("{\"a\":1", End),
        ("\"", End),
        ("\"\\", End),
        ("\"\\u12", End),
        ("\"\\ud83d\\u", End),
        ("-", End),
        ("1.", End),
        ("1e", End),
        ("1e+", End),
        ("tru", End),
        ("\u{feff}1", Value),
        ("x", Value),
        ("tree", Value),
        ("nulL", Value),
        ("'a'", Value),
        ("[,]", Value),
        ("[1,]", Value),
        ("{\"a\":}", Value),
        ("NaN", Value),
        ("Infinity", Value),
        ("+1", Value),
        (".5", Value),
        ("// c\n1", Value),
        ("[\u{a0}1]", Value),
        ("[\u{b}1]", Value),
        ("{1:2}", Key),
        ("{a:1}", Key),
        ("{'a':1}", Key),
        ("{\"a\":1,}", Key),
        ("{,}", Key),
        ("{\"a\" 1}", Colon),
        ("{\"a\"}", Colon),
        ("[1 2]", Comma),
        ("[1}", Comma),
        ("{\"a\":1]", Comma),
        ("{\"a\":1 \"b\":2}", Comma),
        ("\"\n\"", Control),
        ("\"\u{0}\"", Control),
        ("\"\u{1f}\"", Control),
        ("\"\\x\"", Escape),
        ("\"\\'\"", Escape),
        ("\"\\u12g4\"", Escape),
        ("\"\\u+123\"", Escape),
        ("\"\\U0041\"", Escape),
        ("\"\\ud800\"", Surrogate),
        ("\"\\udc00\"", Surrogate),
        ("\"\\ud800x\"", Surrogate),
        ("\"\\ud800\\n\"", Surrogate),
        ("\"\\ud800\\ud800\"", Surrogate),
        ("{\"\\ud800\":1}", Surrogate),
        ("01", Number),
        ("-01", Number),
        ("00", Number),
        ("1.e2", Number),
        ("1.x", Number),
        ("-x", Number),
        ("1e5.5", Number),
        ("0x10", Number),
        ("1f", Number),
        ("{}x", Trailing),
        ("{}{}", Trailing),
        ("1 2", Trailing),
        ("null\0", Trailing),
        ("nulll", Trailing),
        ("\"a\"\"b\"", Trailing),
        ("1,", Trailing),
        ("]", Value),
    ] {
        assert_eq!(fault(text), Some(expected), "{text:?}");
    }
}

#[test]
fn refuses_what_is_not_utf8() {
    for bytes in
        [&b"\"\xff\""[..], b"\"\xc3\"", b"\"\xed\xa0\x80\"", b"\xfe\xff\0[", b"\"\xc0\x80\"", b"1\xff"]
    {
        assert_eq!(fault(bytes), Some(Fault::Utf8), "{bytes:?}");
    }
}

#[test]
fn refuses_a_key_twice_at_any_level_and_in_any_spelling() {
    for text in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"x":{"a":1,"a":2}}"#,
        r#"[[{"a":[],"a":[]}]]"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"😀":1,"\ud83d\ude00":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(fault(text), Some(Fault::DuplicateKey), "{text}");
    }
    // On both sides of the size up to which keys are compared in pairs.
    for count in 2..40 {
        for repeated in 0..count {
            let keys: Vec<_> = (0..count).map(|n| format!("\"k{n}\":{{\"k0\":0}}")).collect();
            let text = format!("{{{},\"k{repeated}\":0}}", keys.join(","));
            let stop = check(text.as_bytes()).unwrap_err();
            assert_eq!(
                (stop.fault, stop.offset),
                (Fault::DuplicateKey, text.rfind("\"k").unwrap()),
                "{text}"
            );
        }
    }
}

#[test]
fn finds_a_duplicate_among_very_many_keys() {
    let mut text = String::from("{");
    for n in 0..50_000 {
        text.push_str(&format!("\"{n}\":0,"));
    }
    assert_eq!(fault(format!("{text}\"x\":0}}")), None);
    assert_eq!(fault(format!("{text}\"49999\":0}}")), Some(Fault::DuplicateKey));
}

#[test]
fn goes_down_128_levels_and_no_further() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = open.matches(['[', '{']).count();
        let nested = |n: usize| format!("{}1{}", open.repeat(n / levels), close.repeat(n / levels));
        assert_eq!(fault(nested(128)), None);
        assert_eq!(fault(nested(128 + levels)), Some(Fault::Depth));
        assert_eq!(fault(nested(10_000)), Some(Fault::Depth));
        assert_eq!(fault(open.repeat(10_000)), Some(Fault::Depth));
    }
    assert_eq!(fault(format!("[{},{}]", "[".repeat(127) + &"]".repeat(127), "[]")), None);
    assert_eq!(fault("[".repeat(129)), Some(Fault::Depth));
    assert_eq!(fault("[".repeat(128)), Some(Fault::End));
}

#[test]
fn says_where_and_nothing_of_the_content() {
    for (text, offset, line, column) in [
        ("", 0, 1, 1),
        ("secret", 0, 1, 1),
        ("{\"secret\":1,\"secret\":2}", 12, 1, 13),
        ("{\n  \"a\": secret\n}", 9, 2, 8),
        ("{}\n\nsecret", 4, 3, 1),
        ("[\"é\", secret]", 7, 1, 8),
    ] {
        let stop = check(text.as_bytes()).unwrap_err();
        assert_eq!((stop.offset, stop.line, stop.column), (offset, line, column), "{text:?}");
        assert!(!format!("{stop} {stop:?}").contains("secret"));
    }
    assert_eq!(check(b"[1,\n x]").unwrap_err().to_string(), "line 2, column 2: a JSON value was expected");
}

/// The grammar, against an independent reader: mutations of valid texts pass here exactly if they pass there, but
/// for what is refused on purpose.
#[test]
fn agrees_with_serde_json() {
    let seeds: [&[u8]; 4] = [
        br#"{"task":"report","input":{"n":-1.10e+5,"list":[true,false,null,[],{}],"s":"a\u00e9\n\"x"},"k":"\ud83d\ude00"}"#,
        br#"[0,-0.5,12E3,"",{"a":{"b":[[]]}}]"#,
        " [ 1 , \"é😀\" ]\n".as_bytes(),
        br#""\\\"\/\b""#,
    ];
    let alphabet = b"{}[]:,\"\\/u0d819aeE.+-tfn \n\x00\xc3\xa9\xff";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut passed = 0;
    for round in 0..60_000 {
        let mut text = seeds[round % seeds.len()].to_vec();
        for _ in 0..=next(3) {
            let at = next(text.len());
            match next(4) {
                0 => text.insert(at, alphabet[next(alphabet.len())]),
                1 => drop(text.remove(at)),
                2 => text[at] = alphabet[next(alphabet.len())],
                _ => text.truncate(at.max(1)),
            }
            if text.is_empty() {
                text.push(b' ');
            }
        }
        let ours = fault(&text);
        let theirs = std::str::from_utf8(&text).is_ok()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        let stricter = matches!(ours, Some(Fault::Surrogate | Fault::DuplicateKey));
        assert!(ours.is_none() == theirs || stricter, "{ours:?} {:?}", String::from_utf8_lossy(&text));
        passed += u32::from(ours.is_none());
    }
    assert!(passed > 1_000, "{passed}");
}
