use super::*;
use crate::wire::gist::testing::hex;

const PROPOSAL: &str = "03 000000  01 01 0000  02 02 01 00  04 05 06 07 08 000000";
const CONFIGURATION: &str = "02 000000  0002bf20  01 01 02 00 7530 0000  80 00 00 80";

#[test]
fn takes_a_proposal_apart_and_builds_it() {
    let proposal = StackProposal { profiles: vec![vec![FORWARDS_TCP], vec![TLS, FORWARDS_TCP], vec![5, 6, 7, 8]] };
    assert_eq!(StackProposal::decode_value(&hex(PROPOSAL)), Ok(proposal.clone()));
    assert_eq!(proposal.encode_value(), hex(PROPOSAL));
}

#[test]
fn refuses_a_proposal_without_profiles_or_with_an_empty_one() {
    assert_eq!(StackProposal::decode_value(&hex("00 000000")), Err(ValueFault::not_supported(0)));
    let empty = ValueFault { error: GistError::EmptyList, offset: 8 };
    assert_eq!(StackProposal::decode_value(&hex("02 000000  01 01 0000  00 000000")), Err(empty));
}

#[test]
fn takes_a_configuration_apart_and_builds_it() {
    let other = StackOption { protocol: 128, profile: 0, forbidden: true, data: Vec::new() };
    let configuration = StackConfiguration { hold_time_ms: 180_000, options: vec![StackOption::tcp(1, 30_000), other] };
    assert_eq!(StackConfiguration::decode_value(&hex(CONFIGURATION)), Ok(configuration.clone()));
    assert_eq!(configuration.encode_value(), hex(CONFIGURATION));
    assert_eq!(StackConfiguration::hold_time(200).encode_value(), hex("00 000000  000000c8"));
}

#[test]
fn refuses_a_hold_time_of_zero() {
    assert_eq!(StackConfiguration::decode_value(&hex("00 000000  00000000")), Err(ValueFault::not_supported(4)));
}

#[test]
fn refuses_every_other_length() {
    let (proposal, configuration) = (hex(PROPOSAL), hex(CONFIGURATION));
    for len in 0..proposal.len() {
        assert_eq!(StackProposal::decode_value(&proposal[..len]), Err(ValueFault::length(len)), "{len} bytes");
    }
    for len in 0..configuration.len() {
        let value = &configuration[..len];
        assert_eq!(StackConfiguration::decode_value(value), Err(ValueFault::length(len)), "{len} bytes");
    }
    let longer = [proposal.as_slice(), &[0; 4]].concat();
    assert_eq!(StackProposal::decode_value(&longer), Err(ValueFault::length(proposal.len())));
    let longer = [configuration.as_slice(), &[0; 4]].concat();
    assert_eq!(StackConfiguration::decode_value(&longer), Err(ValueFault::length(configuration.len())));
}

#[test]
fn finds_the_port_with_its_padding_counted_or_not() {
    let option = |protocol, data: &str| StackOption { protocol, profile: 1, forbidden: false, data: hex(data) };
    assert_eq!(option(FORWARDS_TCP, "7530").port(), Some(30_000));
    assert_eq!(option(FORWARDS_TCP, "7530 0000").port(), Some(30_000));
    assert_eq!(option(FORWARDS_TCP, "").port(), None);
    assert_eq!(option(FORWARDS_TCP, "0000").port(), None);
    assert_eq!(option(TLS, "7530").port(), None);
}

#[test]
fn finds_an_option_for_a_profile_that_is_not_there() {
    let proposal = StackProposal { profiles: vec![vec![FORWARDS_TCP]] };
    let mut configuration =
        StackConfiguration { hold_time_ms: 1, options: vec![StackOption::tcp(0, 1), StackOption::tcp(1, 1)] };
    assert_eq!(configuration.mismatch_at(&proposal), None);
    configuration.options.push(StackOption::tcp(2, 1));
    let at = configuration.mismatch_at(&proposal).expect("the last one");
    assert_eq!(configuration.encode_value()[at], 2);
}

#[test]
fn finds_an_option_for_a_protocol_that_its_profile_lacks() {
    let proposal = StackProposal { profiles: vec![vec![TLS, FORWARDS_TCP], vec![FORWARDS_TCP]] };
    let option = |protocol, profile| StackOption { protocol, profile, forbidden: false, data: vec![] };
    for (option, is_good) in
        [(option(TLS, 0), true), (option(TLS, 1), true), (option(TLS, 2), false), (option(3, 0), false)]
    {
        let configuration = StackConfiguration { hold_time_ms: 1, options: vec![StackOption::tcp(1, 1), option] };
        let at = configuration.mismatch_at(&proposal);
        assert_eq!(at, (!is_good).then_some(16), "{configuration:?}");
    }
}
