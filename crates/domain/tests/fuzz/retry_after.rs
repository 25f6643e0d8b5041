//! `Retry-After`: any bytes of any receiver.

use std::time::Duration;

use proptest::prelude::*;
use ringback_domain::{
    retry_after::{MAX, parse},
    time::Timestamp,
};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// An IMF-fixdate of a second since 1970, worked out without the library that reads it.
fn date(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, days);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    let weekday = DAYS[usize::try_from(days % 7).unwrap()];
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", left + 1, MONTHS[month])
}

proptest! {
    #![proptest_config(super::cases(30_000))]

    #[test]
    fn any_bytes_ask_for_a_day_at_most(
        bytes in prop_oneof![
            any::<Vec<u8>>(),
            "[0-9 \t+-]{0,30}".prop_map(String::into_bytes),
            "(Mon|Tue|Sunday), ?[0-9]{1,3}[ -][A-Z][a-z]{2}[ -][0-9]{1,5} [0-9]{1,2}:[0-9]{2}:[0-9]{2} ?(GMT|UTC)?".prop_map(String::into_bytes),
        ],
        now in 0_i64..4_000_000_000,
    ) {
        let asked = parse(&bytes, Timestamp::from_micros(now * 1_000_000));
        prop_assert!(asked.is_none_or(|span| span <= MAX));
    }

    #[test]
    fn a_date_is_as_far_away_as_it_says(now in 0_i64..4_000_000_000, ahead in -200_000_i64..200_000) {
        let text = date((now + ahead).max(0));
        let expected = Duration::from_secs(u64::try_from(ahead.max(-now)).unwrap_or(0)).min(MAX);
        prop_assert_eq!(parse(text.as_bytes(), Timestamp::from_micros(now * 1_000_000)), Some(expected), "{}", text);
    }

    #[test]
    fn seconds_are_seconds(seconds in any::<u64>()) {
        let now = Timestamp::from_micros(0);
        prop_assert_eq!(parse(seconds.to_string().as_bytes(), now), Some(Duration::from_secs(seconds).min(MAX)));
    }
}
