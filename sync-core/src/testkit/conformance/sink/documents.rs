//! Keys of any characters, and documents that come out as they went in.

use super::{Applied, Refused, delete, expect, held, put, without_spaces};
use crate::port::Sink;

pub(super) async fn check(sink: &dyn Sink) {
    odd_keys_are_keys_like_any_other(sink).await;
    a_key_has_1_to_512_bytes(sink).await;
    a_document_comes_out_as_it_went_in(sink).await;
    keys_are_fetched_in_order_with_gaps(sink).await;
    nothing_to_do_is_nothing_done(sink).await;
}

async fn odd_keys_are_keys_like_any_other(sink: &dyn Sink) {
    let keys = [
        "with space",
        " ",
        "a\"b",
        "a\\b",
        "a/b",
        "../a",
        "a?b#c&d=e",
        "100%",
        "a%2Fb",
        "_leading",
        "-",
        "*",
        "a,b",
        "a:b",
        "{\"a\":1}",
        "tab\there",
        "line\nbreak",
        "größe",
        "\u{1F980}",
        "\u{65}\u{301}",
        "\u{e9}",
        "\u{2028}",
        "ÀÉ",
        "àé",
        "null",
    ];
    for (number, key) in (1..).zip(keys) {
        let document = format!(r#"{{"number":{number}}}"#);
        expect(sink, key, &[put(key, 1, &document)], &[Applied]).await;
    }
    for (number, key) in (1..).zip(keys) {
        assert_eq!(held(sink, key).await, Some((1, format!(r#"{{"number":{number}}}"#))), "{key:?}");
    }
    for key in keys {
        expect(sink, key, &[delete(key, 2)], &[Applied]).await;
        assert_eq!(held(sink, key).await, None, "{key:?}");
    }
}

async fn a_key_has_1_to_512_bytes(sink: &dyn Sink) {
    // The limit counts bytes, not characters.
    for longest in ["x".repeat(512), "ß".repeat(256)] {
        expect(sink, "512 bytes", &[put(&longest, 1, r#"{"n":1}"#)], &[Applied]).await;
        assert_eq!(held(sink, &longest).await, Some((1, r#"{"n":1}"#.into())));
    }
    for bad in ["x".repeat(513), "ß".repeat(257), String::new()] {
        expect(sink, "no key", &[put(&bad, 1, r#"{"n":1}"#)], &[Refused]).await;
        expect(sink, "no key to delete", &[delete(&bad, 1)], &[Refused]).await;
        assert_eq!(held(sink, &bad).await, None);
    }
}

async fn a_document_comes_out_as_it_went_in(sink: &dyn Sink) {
    let documents = [
        "{}",
        r#"{"precise":0.1234567890123456789012345678901234567890,"large":9007199254740993}"#,
        r#"{"zeros":1.10,"exponent":1.5e3,"negative":-0.0,"long":9223372036854775807}"#,
        r#"{"text":"größer \ud83e\udd80 \"quoted\" \\ / \/ \n\t\u0001 </script>","ключ":"значение","":1}"#,
        r#"{"null":null,"yes":true,"no":false,"empty":[],"none":{}}"#,
        r#"{"nested":{"a":[{"b":[1,[2,[3]]]},{"c":{"d":{"e":"f"}}}]}}"#,
        r#"{ "spaced" : [ 1 , 2 ] , "last" : "a  b" }"#,
        "{\n  \"pretty\": [\n    1,\r\n    2\n  ]\n}",
    ];
    for (number, document) in (1..).zip(documents) {
        let key = format!("document-{number}");
        expect(sink, document, &[put(&key, 1, document)], &[Applied]).await;
        assert_eq!(held(sink, &key).await, Some((1, without_spaces(document))));
    }
    let long = format!(r#"{{"body":"{}"}}"#, "lorem ipsum ".repeat(100_000));
    expect(sink, "1.2 MB", &[put("long", 1, &long)], &[Applied]).await;
    assert!(held(sink, "long").await == Some((1, without_spaces(&long))), "a document of 1.2 MB came back changed");
}

async fn keys_are_fetched_in_order_with_gaps(sink: &dyn Sink) {
    let writes: Vec<_> = (0..50).map(|n| put(&format!("row-{n}"), n + 1, &format!(r#"{{"row":{n}}}"#))).collect();
    expect(sink, "50 rows", &writes, &[Applied; 50]).await;
    let order = [40, 3, 99, 3, 0, 77, 49];
    let mut keys: Vec<_> = order.iter().map(|n| format!("row-{n}")).collect();
    // No document has this key; asking for it is no error.
    keys.insert(1, String::new());
    let rows: Vec<_> = sink
        .fetch(&keys)
        .await
        .unwrap()
        .into_iter()
        .map(|stored| stored.map(|stored| (stored.version.external(), stored.document)))
        .collect();
    let row = |n: u64| Some((n + 1, format!(r#"{{"row":{n}}}"#)));
    assert_eq!(rows, [row(40), None, row(3), None, row(3), row(0), None, row(49)]);
}

async fn nothing_to_do_is_nothing_done(sink: &dyn Sink) {
    expect(sink, "no writes", &[], &[]).await;
    assert_eq!(sink.fetch(&[]).await.unwrap(), []);
}
