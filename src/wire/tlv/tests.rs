use super::*;

#[test]
fn takes_objects_apart_and_builds_them() {
    let bytes = [0x40, 0x05, 0, 1, 1, 2, 3, 4, 0x87, 0xd0, 0, 0];
    let objects: Vec<_> = Reader::new(&bytes).map(|object| object.expect("whole")).collect();
    assert_eq!(
        objects,
        [
            Object { head: 0x4005, flags: Flags::Ignore, kind: 5, value: &[1, 2, 3, 4], offset: 0 },
            Object { head: 0x87d0, flags: Flags::Forward, kind: 2_000, value: &[], offset: 8 },
        ]
    );
    let mut built = Vec::new();
    for object in &objects {
        write(&mut built, object.flags.head(object.kind), object.value);
    }
    assert_eq!(built, bytes);
}

#[test]
fn fills_the_last_word_with_zeros() {
    let mut built = Vec::new();
    write(&mut built, 8, &[9]);
    assert_eq!(built, [0, 8, 0, 1, 9, 0, 0, 0]);
}

#[test]
fn ignores_reserved_bits_of_the_header() {
    let object = Reader::new(&[0x30, 1, 0xf0, 0]).next().expect("one").expect("whole");
    assert_eq!((object.head, object.kind, object.value.len()), (0x3001, 1, 0));
}

#[test]
fn ends_after_the_first_error() {
    let mut reader = Reader::new(&[0, 1, 0, 0, 0, 2, 0, 2, 1, 1, 1, 1]);
    assert!(reader.next().is_some_and(|object| object.is_ok()));
    assert_eq!(reader.next(), Some(Err(Error::ShortValue { offset: 4, claimed_bytes: 8, left_bytes: 4 })));
    assert_eq!(reader.next(), None);
    let mut reader = Reader::new(&[0, 1, 0]);
    assert_eq!(reader.next(), Some(Err(Error::ShortHeader { offset: 0, left_bytes: 3 })));
    assert_eq!(reader.next(), None);
}

#[test]
fn takes_nothing_when_a_field_is_not_whole() {
    let mut fields = Fields::new(&[1, 2, 3, 4, 5]);
    assert_eq!((fields.byte(), fields.u32(), fields.at()), (Some(1), Some(0x0203_0405), 5));
    assert_eq!((fields.byte(), fields.u16(), fields.take(1), fields.at()), (None, None, None, 5));
    let mut fields = Fields::new(&[1, 0, 0, 0, 2]);
    assert_eq!((fields.padded(1), fields.padded(1), fields.rest()), (Some(&[1][..]), None, &[2][..]));
}
