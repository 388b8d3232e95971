use proptest::{collection::vec, prelude::*};

use super::*;
use crate::stream::proxy::{Reading, read};

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &(value.len() as u16).to_be_bytes()[..], value].concat()
}

fn header(command: u8, group: u8, addresses: &[u8], fields: &[Vec<u8>]) -> Vec<u8> {
    let body = [addresses, &fields.concat()].concat();
    [v2::SIGNATURE, &[command, group], &(body.len() as u16).to_be_bytes(), &body].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 0, 7];

fn at(text: &str) -> RequestAddress<'static> {
    RequestAddress::Inet(text.parse().unwrap())
}

#[test]
fn version_1_tells_both_ends() {
    let info = told(b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 7\r\n");
    assert_eq!((info.version, info.command), (1, ProxyCommand::Proxy));
    assert_eq!((info.source, info.destination), (at("[2001:db8::1]:40000"), at("[2001:db8::2]:7")));
    let unknown = told(b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n");
    assert_eq!(unknown, ProxyInfo { version: 1, ..ProxyInfo::default() });
}

#[test]
fn version_2_tells_both_ends_of_every_family() {
    let info = header(0x21, 0x11, &V4, &[]);
    let info = told(&info);
    assert_eq!((info.version, info.command), (2, ProxyCommand::Proxy));
    assert_eq!((info.source, info.destination), (at("192.0.2.1:40000"), at("198.51.100.2:7")));
    let mut paths = [0; 216];
    paths[..6].copy_from_slice(b"/run/a");
    paths[108..113].copy_from_slice(b"\0name");
    let unix = header(0x21, 0x31, &paths, &[]);
    let unix = told(&unix);
    assert_eq!(
        (unix.source, unix.destination),
        (RequestAddress::Path(b"/run/a"), RequestAddress::Abstract(b"name"))
    );
    // Whatever follows LOCAL is to be ignored.
    let local = header(0x20, 0x11, &V4, &[tlv(1, b"h2")]);
    assert_eq!(told(&local), ProxyInfo { version: 2, command: ProxyCommand::Local, ..ProxyInfo::default() });
}

#[test]
fn every_field_is_told() {
    let inner = [
        tlv(0x21, b"TLSv1.3"),
        tlv(0x22, b"client"),
        tlv(0x23, b"AES"),
        tlv(0x24, b"SHA256"),
        tlv(0x25, b"RSA2048"),
    ];
    let ssl = [&[7, 0, 0, 0, 0][..], &inner.concat()].concat();
    let fields = [
        tlv(0x01, b"h2"),
        tlv(0x01, b"http/1.1"),
        tlv(0x02, b"example.org"),
        tlv(0x05, b"\x00\xff"),
        tlv(0x20, &ssl),
        tlv(0x30, b"blue"),
        tlv(0xea, b"\x01vpce-08d2bf15fac5001c9"),
        tlv(0xea, b"\x02other"),
        tlv(0xee, &[1, 0x78, 0x56, 0x34, 0x12]),
        tlv(0x04, b"padding"),
        tlv(0xe5, b"unknown"),
    ];
    let header = header(0x21, 0x11, &V4, &fields);
    assert!(matches!(read(&header), Reading::Whole { length, .. } if length == header.len()));
    let some = |text: &'static [u8]| Some(FieldBytes(text));
    let expected = ProxyFields {
        alpn: some(b"h2"),
        authority: some(b"example.org"),
        unique_id: some(b"\x00\xff"),
        netns: some(b"blue"),
        aws_vpce_id: some(b"vpce-08d2bf15fac5001c9"),
        azure_link_id: Some(0x1234_5678),
        ssl: Some(ProxyTls {
            tls: true,
            certificate: true,
            verified: true,
            version: some(b"TLSv1.3"),
            cn: some(b"client"),
            cipher: some(b"AES"),
            sig_alg: some(b"SHA256"),
            key_alg: some(b"RSA2048"),
        }),
    };
    assert_eq!(told(&header).fields, expected);
}

/// A proxy may say 0, "verified", where there was no certificate.
#[test]
fn only_a_certificate_that_was_there_is_verified() {
    for (client, verify, certificate, verified) in [
        (1, 0, false, false),
        (3, 0, true, true),
        (5, 0, true, true),
        (3, 18, true, false),
        (0, 0, false, false),
    ] {
        let tls = tls(client, u32::to_be_bytes(verify), &[]);
        assert_eq!((tls.certificate, tls.verified), (certificate, verified), "{client} {verify}");
    }
}

#[test]
fn fields_of_another_form_are_left_out() {
    let cut = [tlv(0x21, b"TLSv1.3"), vec![0x22, 0xff, 0xff, b'x']].concat();
    let fields = [
        tlv(0x20, &[1, 0, 0]),
        tlv(0x20, &[&[1, 0, 0, 0, 0][..], &cut].concat()),
        tlv(0xea, b""),
        tlv(0xee, &[1, 2, 3]),
        tlv(0xee, &[2, 1, 2, 3, 4]),
        tlv(0x02, b"there"),
    ];
    let header = header(0x21, 0x00, &[], &fields);
    let info = told(&header);
    let ssl = info.fields.ssl.as_ref().unwrap();
    assert_eq!((ssl.version, ssl.cn), (Some(FieldBytes(b"TLSv1.3")), None));
    assert_eq!((info.fields.aws_vpce_id, info.fields.azure_link_id), (None, None));
    assert_eq!((info.source, info.fields.authority), (RequestAddress::Unnamed, Some(FieldBytes(b"there"))));
}

proptest! {
    #[test]
    fn whatever_was_read_can_be_told(
        command in prop_oneof![4 => Just(0x21_u8), 1 => Just(0x20)],
        group in prop::sample::select(&[0x00_u8, 0x11, 0x12, 0x21, 0x31][..]),
        body in vec(any::<u8>(), 0..400),
        line in "PROXY (TCP4|TCP6|UNKNOWN|) ?[0-9a-f.:]{0,20} ?[0-9a-f.:]{0,20} ?[0-9]{0,6} ?[0-9]{0,6}\r\n",
    ) {
        let v2 = [v2::SIGNATURE, &[command, group], &(body.len() as u16).to_be_bytes(), &body].concat();
        for bytes in [v2, line.into_bytes()] {
            // Told of headers that cannot be read as well: nothing panics.
            let info = told(&bytes);
            if let Reading::Whole { length, source: Some(source) } = read(&bytes) {
                prop_assert_eq!(length, bytes.len());
                prop_assert_eq!(info.source, RequestAddress::Inet(source));
            }
        }
    }
}
