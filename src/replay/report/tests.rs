//! Of the page as a whole.

use super::*;

fn policy(name: &str) -> Policy<'_> {
    let bin = |predicted, right| Bin { predicted, right: Share::new(right, 100) };
    let cosine_bin = |from, right, wrong| CosineBin { from, to: from + 0.1, right, wrong };
    Policy {
        name,
        budget: Some(0.01),
        exact: 500,
        requests: 10_000,
        hits: Share::new(4000, 10_000),
        wrong_of_requests: Share::new(120, 10_000),
        wrong_of_hits: Share::new(120, 4000),
        audits: 300,
        second_half_hits: Share::new(2400, 5000),
        second_half_wrong: Share::new(40, 5000),
        checkpoints: (1..=10).map(|k| Checkpoint { requests: k * 1000, hits: k * 400, wrong: k * 12 }).collect(),
        calibration: vec![bin(0.3, 20), bin(0.9, 92), bin(0.99, 100)],
        cosines: vec![cosine_bin(0.7, 20, 50), cosine_bin(0.8, 400, 10), cosine_bin(0.9, 900, 0)],
        alarms: vec![4200],
    }
}

fn report<'r>(policies: Vec<Policy<'r>>) -> Report<'r> {
    let point = |min_cosine, hits, wrong| Point {
        min_cosine,
        hits: Share::new(hits, 10_000),
        wrong_of_requests: Share::new(wrong, 10_000),
        wrong_of_hits: Share::new(wrong, hits),
    };
    let frontier = vec![point(0.7, 6000, 1500), point(0.8, 4500, 500), point(0.9, 2500, 60)];
    Report { trace: "a.jsonl", requests: 10_000, skipped: 3, model: "all-MiniLM-L6-v2", policies, frontier }
}

fn none(name: &str) -> Policy<'_> {
    Policy { name, ..Policy::default() }
}

/// Of plots, texts that are no mark's own aside.
fn dots(html: &str) -> usize {
    html.matches("class=\"dot ").count()
}

/// What follows each `before`, up to a quote.
fn attributes<'h>(html: &'h str, before: &str) -> Vec<&'h str> {
    html.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

fn data(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// Whether all elements are closed, in the right order.
fn assert_is_nested(html: &str) {
    let (_, body) = html.split_once("</style>").unwrap();
    let mut open: Vec<&str> = vec!["html", "head"];
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("every < begins an element");
        let name = tag.split([' ', '/', '\n']).find(|name| !name.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// Whether all that plots are drawn from are numbers.
fn assert_is_drawable(html: &str) {
    for attribute in ["d", "points", "x", "y", "cx", "cy", "r", "viewBox"] {
        for value in attributes(html, &format!(" {attribute}=\"")) {
            for number in value.split(|letter: char| letter == ' ' || letter == ',' || "MLHVZahvlz".contains(letter)) {
                let is_finite = number.is_empty() || number.parse().is_ok_and(f64::is_finite);
                assert!(is_finite, "{attribute}={value:?}");
            }
        }
    }
    for bad in ["NaN", "inf", "Infinity"] {
        assert!(!html.replace("info", "").contains(bad), "{bad}");
    }
}

fn assert_is_sound(html: &str) {
    assert_is_nested(html);
    assert_is_drawable(html);
    data(html);
}

#[test]
fn texts_from_outside_stay_texts() {
    let evil = "</script><script>alert('1')</script><!-- & \"q\" onload=\"x\" \0";
    let mut report = report(vec![policy(evil)]);
    (report.trace, report.model) = (evil, evil);
    let html = report.html();
    assert_is_sound(&html);
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(html.matches("</script").count(), 1);
    assert!(!html.contains("<!-- ") && !html.contains("\"q\"") && !html.contains('\0'));
    assert!(html.contains("&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)"));
    let data = data(&html);
    assert_eq!((data["trace"].as_str(), data["policies"][0]["name"].as_str()), (Some(evil), Some(evil)));
}

#[test]
fn nothing_is_loaded() {
    let html = report(vec![policy("a")]).html();
    for loading in ["http://", "https://", "src=", "href=", "@import", "url(", "<link", "<img", "<iframe"] {
        assert!(!html.contains(loading), "{loading}");
    }
}

#[test]
fn every_policy_is_in_the_table_and_a_dot() {
    let names = ["one", "two", "three", "four", "five", "six", "seven"];
    let html = report(names.map(policy).into()).html();
    assert_is_sound(&html);
    let (_, table) = html.split_once("<tbody>").unwrap();
    let (table, plots) = table.split_once("</tbody>").unwrap();
    for name in names {
        assert_eq!(table.matches(&format!("<span class=\"name\">{name}</span>")).count(), 1, "{name}");
        assert!(plots.contains(&format!("<title>{name}\nhits")), "{name}");
    }
    assert_eq!(dots(&html), names.len());
    let marks: std::collections::BTreeSet<_> =
        attributes(plots, "class=\"key\" viewBox=\"-8 -8 16 16\" aria-hidden=\"true\"><path class=\"mark ")
            .into_iter()
            .collect();
    assert_eq!(marks.len(), 6, "colours");
    assert!(table.contains("1.20\u{a0}%<small>1.00–1.43</small>") && table.contains("✗ broken"));
    assert!(table.contains("<td>3,500</td>"), "semantic hits");
}

#[test]
fn whatever_is_counted_can_be_drawn() {
    let all_wrong = Policy {
        hits: Share::new(50, 50),
        requests: 50,
        wrong_of_requests: Share::new(50, 50),
        wrong_of_hits: Share::new(50, 50),
        checkpoints: vec![Checkpoint { requests: 50, hits: 50, wrong: 50 }],
        ..policy("all wrong")
    };
    let no_hits = Policy {
        exact: 0,
        hits: Share::new(0, 50),
        wrong_of_requests: Share::new(0, 50),
        wrong_of_hits: Share::default(),
        checkpoints: vec![Checkpoint { requests: 50, hits: 0, wrong: 0 }],
        calibration: vec![
            Bin { predicted: f64::NAN, right: Share::new(1, 2) },
            Bin { predicted: 0.5, right: Share::default() },
            Bin { predicted: 1.0, right: Share::new(0, 1) },
        ],
        cosines: vec![
            CosineBin { from: f32::NAN, to: 1.0, right: 1, wrong: 1 },
            CosineBin { from: 0.5, to: 0.5, right: 1, wrong: 0 },
        ],
        ..policy("no hits")
    };
    let odd = Policy { budget: Some(f64::NAN), alarms: vec![0, u64::MAX], ..policy("odd") };
    let huge = Policy {
        budget: Some(f64::INFINITY),
        checkpoints: vec![Checkpoint { requests: 0, hits: 0, wrong: 0 }],
        ..policy("huge")
    };
    let all = [all_wrong, no_hits, odd, huge, policy("usual"), none("nothing")];
    for policies in all.iter().map(|policy| vec![policy.clone()]).chain([all.to_vec(), vec![]]) {
        let drawn = policies.iter().filter(|policy| policy.hits.all > 0).count();
        for frontier in [
            report(vec![]).frontier,
            vec![],
            vec![Point { min_cosine: f32::NAN, hits: Share::new(1, 2), ..Point::default() }],
        ] {
            let html = Report { frontier, ..report(policies.clone()) }.html();
            assert_is_sound(&html);
            assert_eq!(dots(&html), drawn);
        }
    }
}

#[test]
fn plots_without_data_are_sentences() {
    let mut report = report(vec![none("nothing")]);
    report.frontier.clear();
    let html = report.html();
    assert_eq!((html.matches("class=\"nothing\"").count(), html.matches("class=\"plot").count()), (4, 0));
    // One with data and one without: a plot of the former alone.
    report.policies.push(policy("something"));
    let html = report.html();
    assert_eq!((html.matches("class=\"nothing\"").count(), html.matches("class=\"plot").count()), (0, 4));
    assert_eq!(dots(&html), 1);
}

#[test]
fn policies_of_one_budget_share_a_plot() {
    let budgets = [Some(0.02), None, Some(0.01), Some(0.02)];
    let html = report(budgets.map(|budget| Policy { budget, ..policy("p") }).into()).html();
    let (_, part) = html.split_once("over time</h2>").unwrap();
    let (part, _) = part.split_once("</section>").unwrap();
    let titles: Vec<&str> = part.split("<figcaption>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(titles, ["Budget 1\u{a0}%", "Budget 2\u{a0}%", "No budget"]);
    assert_eq!(part.matches("<polyline class=\"budget\"").count(), 2);
    assert_eq!(part.matches("<polyline class=\"course").count(), 4);
}

#[test]
fn long_courses_are_thinned_and_keep_their_end() {
    let checkpoints = (1..=1230).map(|k| Checkpoint { requests: k * 1000, hits: 0, wrong: k }).collect();
    let html = report(vec![Policy { checkpoints, requests: 1_230_000, ..policy("p") }]).html();
    let spots = html.matches("class=\"spot\"").count();
    assert!((100..=150).contains(&spots), "{spots}");
    assert!(html.contains("<title>p, 1,230,000 requests"));
}

#[test]
fn data_has_all_numbers() {
    let html = report(vec![policy("p")]).html();
    let data = data(&html);
    assert_eq!((data["requests"].as_u64(), data["skipped"].as_u64()), (Some(10_000), Some(3)));
    assert_eq!(data["frontier"][0]["minCosine"].to_string(), "0.7");
    let policy = &data["policies"][0];
    assert_eq!(policy["wrongOfRequests"]["some"], 120);
    assert!((policy["wrongOfRequests"]["high"].as_f64().unwrap() - 0.0143).abs() < 1e-4);
    assert_eq!((policy["checkpoints"][9]["wrong"].as_u64(), policy["alarms"][0].as_u64()), (Some(120), Some(4200)));
    assert_eq!(
        (policy["calibration"][1]["right"]["some"].as_u64(), policy["cosines"][2]["right"].as_u64()),
        (Some(92), Some(900))
    );
}
