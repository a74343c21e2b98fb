//! Page templates: `{{name}}` is replaced by HTML that the caller has escaped.

use crate::problem::{Outcome, Problem};

/// Fills a template. Every placeholder must be given, and every given name used.
///
/// # Errors
/// A placeholder without a value, or a value without a placeholder.
pub fn fill(file: &str, template: &str, values: &[(&str, &str)]) -> Outcome<String> {
    let mut out = String::with_capacity(template.len());
    let mut used = vec![false; values.len()];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            return Err(Problem::at(
                file,
                template,
                out.len(),
                "a placeholder is not closed with }}",
            ));
        };
        let Some(at) = values.iter().position(|(known, _)| *known == name.trim()) else {
            return Err(Problem::new(
                file,
                format!("the placeholder {{{{{name}}}}} has no value"),
            ));
        };
        if let (Some((_, value)), Some(flag)) = (values.get(at), used.get_mut(at)) {
            out.push_str(value);
            *flag = true;
        }
        rest = tail;
    }
    out.push_str(rest);
    match used
        .iter()
        .position(|used| !used)
        .and_then(|at| values.get(at))
    {
        Some((name, _)) => Err(Problem::new(
            file,
            format!("the template has no place for {{{{{name}}}}}"),
        )),
        None => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn values_go_to_their_places() {
        assert_eq!(
            fill("t", "a{{x}}b{{ y }}{{x}}", &[("x", "1"), ("y", "{{x}}")]).unwrap(),
            "a1b{{x}}1"
        );
    }

    #[test]
    fn a_template_and_its_values_must_agree() {
        assert!(
            fill("t", "{{x}}", &[])
                .unwrap_err()
                .reason
                .contains("{{x}}")
        );
        assert!(
            fill("t", "", &[("x", "1")])
                .unwrap_err()
                .reason
                .contains("no place")
        );
        assert!(
            fill("t", "a{{x", &[("x", "1")])
                .unwrap_err()
                .reason
                .contains("not closed")
        );
    }
}
