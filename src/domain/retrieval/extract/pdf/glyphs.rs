//! Which characters the codes and the names of glyphs stand for.
//!
//! Source: ISO 32000-1 Annex D and the Adobe Glyph List; of its 4,000 names those of Latin, Greek and Cyrillic letters,
//! punctuation and the mathematics of running text. Chinese, Japanese and Korean glyphs have no names in use.

/// A font's own table of simple codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Standard,
    WinAnsi,
    MacRoman,
    Symbol,
}

/// Codes from 0x80 on; NUL where none is.
const STANDARD: &str = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0¡¢£⁄¥ƒ§¤'“«‹›ﬁﬂ\0–†‡·\0¶•‚„”»…‰\0¿\0`´ˆ˜¯˘˙¨\0˚¸\0˝˛ˇ—\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0Æ\0ª\0\0\0\0ŁØŒº\0\0\0\0\0æ\0\0\0ı\0\0łøœß";
const WIN_ANSI: &str = "€•‚ƒ„…†‡ˆ‰Š‹Œ•Ž••‘’“”•–—˜™š›œ•žŸ\u{A0}¡¢£¤¥¦§¨©ª«¬-®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";
const MAC_ROMAN: &str = "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{A0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\0ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";

/// Codes from 0x20 on.
const SYMBOL: &str = " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧ∆ΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_\0αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…\0\0↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑\0\0\0\0\0\0\0\0\0\0ð〉∫⌠\0⌡\0\0\0\0\0\0\0\0\0ÿ";

/// Codes 0x80 to 0xA0 of text strings outside of pages (Annex D.3); the others are Latin 1.
const PDF_DOC: &str = "•†‡…—–ƒ⁄‹›−‰„“”‘’‚™ﬁﬂŁŒŠŸŽıłœšž\0€";

/// Names, in the order of their bytes, each with its character behind it.
const NAMES: &str = "\
    AE Æ Aacute Á Abreve Ă Acircumflex Â Adieresis Ä Agrave À Alpha Α Alphatonos Ά Amacron Ā Aogonek Ą Aring Å \
    Atilde Ã Beta Β Cacute Ć Ccaron Č Ccedilla Ç Ccircumflex Ĉ Cdot Ċ Cdotaccent Ċ Chi Χ Dbar Đ Dcaron Ď Dcroat Đ \
    Delta Δ Dslash Đ Eacute É Ebreve Ĕ Ecaron Ě Ecircumflex Ê Edieresis Ë Edot Ė Edotaccent Ė Egrave È Emacron Ē \
    Eng Ŋ Eogonek Ę Epsilon Ε Epsilontonos Έ Eta Η Etatonos Ή Eth Ð Euro € Ezhcaron Ǯ Gamma Γ Gbreve Ğ Gcaron Ǧ \
    Gcedilla Ģ Gcircumflex Ĝ Gcommaaccent Ģ Gdot Ġ Gdotaccent Ġ Hbar Ħ Hcircumflex Ĥ IJ Ĳ Iacute Í Ibreve Ĭ \
    Icircumflex Î Idieresis Ï Idot İ Idotaccent İ Ifractur ℑ Ifraktur ℑ Igrave Ì Imacron Ī Iogonek Į Iota Ι \
    Iotadieresis Ϊ Iotatonos Ί Itilde Ĩ Jcircumflex Ĵ Kappa Κ Kcaron Ǩ Kcedilla Ķ Kcommaaccent Ķ Lacute Ĺ Lambda Λ \
    Lcaron Ľ Lcedilla Ļ Lcommaaccent Ļ Ldot Ŀ Ldotaccent Ŀ Lslash Ł Mu Μ Nacute Ń Ncaron Ň Ncedilla Ņ \
    Ncommaaccent Ņ Ntilde Ñ Nu Ν OE Œ Oacute Ó Obreve Ŏ Ocircumflex Ô Odblacute Ő Odieresis Ö Ograve Ò Ohm Ω \
    Ohorn Ơ Ohungarumlaut Ő Omacron Ō Omega Ω Omegatonos Ώ Omicron Ο Omicrontonos Ό Oogonek Ǫ Oogonekmacron Ǭ \
    Oslash Ø Otilde Õ Phi Φ Pi Π Psi Ψ Racute Ŕ Rcaron Ř Rcedilla Ŗ Rcommaaccent Ŗ Rfractur ℜ Rfraktur ℜ Rho Ρ \
    Sacute Ś Scaron Š Scedilla Ş Scircumflex Ŝ Scommaaccent Ș Sigma Σ Tau Τ Tbar Ŧ Tcaron Ť Tcedilla Ţ \
    Tcommaaccent Ț Theta Θ Thorn Þ Togonek Ţ Uacute Ú Ubreve Ŭ Ucircumflex Û Udblacute Ű Udieresis Ü Ugrave Ù \
    Uhorn Ư Uhungarumlaut Ű Umacron Ū Uogonek Ų Upsilon Υ Upsilon1 ϒ Upsilondieresis Ϋ Upsilonhooksymbol ϒ \
    Upsilontonos Ύ Uring Ů Utilde Ũ Wacute Ẃ Wcircumflex Ŵ Wdieresis Ẅ Wgrave Ẁ Xi Ξ Yacute Ý Ycircumflex Ŷ \
    Ydieresis Ÿ Yen ¥ Ygrave Ỳ Zacute Ź Zcaron Ž Zdot Ż Zdotaccent Ż Zeta Ζ aacute á abreve ă acircumflex â acute ´ \
    adieresis ä ae æ afii00208 ― afii61352 № agrave à aleph ℵ alpha α alphatonos ά amacron ā ampersand & angle ∠ \
    angleleft 〈 angleright 〉 anoteleia · aogonek ą approxequal ≈ approximatelyequal ≅ aring å arrowboth ↔ \
    arrowbothv ↕ arrowbt ↓ arrowdblboth ⇔ arrowdblbt ⇓ arrowdbldown ⇓ arrowdblleft ⇐ arrowdblright ⇒ arrowdbltp ⇑ \
    arrowdblup ⇑ arrowdown ↓ arrowdownbt ↓ arrowleft ← arrowleftdbl ⇐ arrowleftright ↔ arrowright → arrowtp ↑ \
    arrowup ↑ arrowupdn ↕ arrowupdown ↕ arrowuptp ↑ asciicircum ^ asciitilde ~ asterisk * asteriskcentered ∗ \
    asteriskmath ∗ asympticallyequal ≃ asymptoticallyequal ≃ at @ atilde ã backslash \\ bar | bardbl ‖ beta β \
    blackcircle ● blacksquare ■ braceleft { braceright } bracketleft [ bracketright ] breve ˘ brokenbar ¦ bullet • \
    bulletoperator ∙ cacute ć caret ‸ caron ˇ ccaron č ccedilla ç ccircumflex ĉ cdot ċ cdotaccent ċ cedilla ¸ \
    ceilingleft ⌈ ceilingright ⌉ cent ¢ chi χ circle ○ circleblack ● circlecopyrt © circlemultiply ⊗ circleplus ⊕ \
    circlewhite ○ circumflex ˆ club ♣ clubblack ♣ clubsuitblack ♣ colon : colonmonetary ₡ colonsign ₡ comma , \
    congruent ≅ copyright © cruzeiro ₢ currency ¤ dagger † daggerdbl ‡ dbar đ dblarrowdown ⇓ dblarrowleft ⇔ \
    dblarrowleftright ⇔ dblarrowright ⇒ dblarrowup ⇑ dbllowline ‗ dblverticalbar ‖ dcaron ď dcroat đ degree ° \
    delta δ dialytikatonos ΅ diamond ♦ dieresis ¨ dieresistonos ΅ divide ÷ divisionslash ∕ dmacron đ dollar $ \
    dong ₫ dotaccent ˙ dotlessi ı dotlessj ȷ dotmath ⋅ eacute é ebreve ĕ ecaron ě ecircumflex ê edieresis ë edot ė \
    edotaccent ė egrave è eight 8 element ∈ ell ℓ ellipsis … emacron ē emdash — emptyset ∅ endash – eng ŋ eogonek ę \
    epsilon ε epsilontonos έ equal = equivalence ≡ estimated ℮ eta η etatonos ή eth ð euro € exclam ! exclamdbl ‼ \
    exclamdown ¡ existential ∃ ezhcaron ǯ ff ﬀ ffi ﬃ ffl ﬄ fhook ƒ fi ﬁ figuredash ‒ filledbox ■ finalsigma ς \
    five 5 fl ﬂ floorleft ⌊ floorright ⌋ florin ƒ forall ∀ four 4 fraction ⁄ franc ₣ gamma γ gbreve ğ gcaron ǧ \
    gcedilla ģ gcircumflex ĝ gcommaaccent ģ gdot ġ gdotaccent ġ germandbls ß gradient ∇ grave ` greater > \
    greaterequal ≥ greatermuch ≫ guillemetleft « guillemetright » guillemotleft « guillemotright » guilsinglleft ‹ \
    guilsinglright › hbar ħ hcircumflex ĥ heart ♥ heartblack ♥ heartsuitblack ♥ horizontalbar ― hungarumlaut ˝ \
    hyphen - hyphenationpoint ‧ hyphenchar - hyphentwo ‐ iacute í ibreve ĭ icircumflex î idieresis ï igrave ì ij ĳ \
    imacron ī increment ∆ infinity ∞ integral ∫ integraldisplay ∫ integraldisplaystyle ∫ interrobang ‽ \
    intersection ∩ iogonek į iota ι iotadieresis ϊ iotadieresistonos ΐ iotatonos ί itilde ĩ jcircumflex ĵ kappa κ \
    kcaron ǩ kcedilla ķ kcommaaccent ķ kgreenlandic ĸ kra ĸ lacute ĺ lambda λ lcaron ľ lcedilla ļ lcommaaccent ļ \
    ldot ŀ ldotaccent ŀ less < lessequal ≤ lessmuch ≪ lira ₤ logicaland ∧ logicalnot ¬ logicalor ∨ longs ſ \
    lozenge ◊ lslash ł macron ¯ middot · mill ₥ millisecond ‴ minus − minusplus ∓ minute ′ minutereversed ‵ mu μ \
    mu1 µ muchgreater ≫ muchless ≪ multiply × nabla ∇ nacute ń naira ₦ napostrophe ŉ ncaron ň ncedilla ņ \
    ncommaaccent ņ newsheqel ₪ newsheqelsign ₪ nine 9 nonbreakinghyphen ‑ notelement ∉ notelementof ∉ notequal ≠ \
    notsubset ⊄ ntilde ñ nu ν numbersign # numero № oacute ó obreve ŏ ocircumflex ô odblacute ő odieresis ö oe œ \
    ogonek ˛ ograve ò ohm Ω ohorn ơ ohungarumlaut ő omacron ō omega ω omega1 ϖ omegatonos ώ omicron ο \
    omicrontonos ό one 1 onedotenleader ․ onehalf ½ onequarter ¼ onesuperior ¹ oogonek ǫ oogonekmacron ǭ \
    ordfeminine ª ordmasculine º orthogonal ∟ oslash ø otilde õ overline ‾ overscore ¯ owner ∋ paragraph ¶ \
    parallel ∥ parenleft ( parenright ) partialdiff ∂ percent % period . periodcentered · perpendicular ⊥ \
    pertenthousandsign ‱ perthousand ‰ peseta ₧ phi φ phi1 ϕ pi π pi1 ϖ planckover2pi ℏ planckover2pi1 ℏ \
    plancktwopi ℏ plus + pluscircle ⊕ plusminus ± prime ′ primereverse ‵ primereversed ‵ product ∏ productdisplay ∏ \
    producttext ∏ propersubset ⊂ propersuperset ⊃ proportional ∝ psi ψ punctdash — question ? questiondown ¿ \
    quotedbl \" quotedblbase „ quotedblleft “ quotedblreversed ‟ quotedblright ” quoteleft ‘ quoteleftreversed ‛ \
    quotereversed ‛ quoteright ’ quoterightn ŉ quotesinglbase ‚ quotesingle ' racute ŕ radical √ radicalbt √ \
    rangedash – rcaron ř rcedilla ŗ rcommaaccent ŗ referencemark ※ reflexsubset ⊆ reflexsuperset ⊇ registered ® \
    rho ρ rightangle ∟ ring ˚ ringoperator ∘ rupee ₨ sacute ś scaron š scedilla ş scircumflex ŝ scommaaccent ș \
    second ″ section § semicolon ; seven 7 sheqel ₪ sigma σ sigma1 ς sigmafinal ς similar ∼ similarequal ≃ six 6 \
    slash / slong ſ spade ♠ spadeblack ♠ spadesuitblack ♠ square □ squareblack ■ squarewhite □ sterling £ subset ⊂ \
    subsetorequal ⊆ suchthat ∋ summation ∑ summationdisplay ∑ summationtext ∑ superset ⊃ supersetorequal ⊇ \
    tackright ⊢ tackup ⊥ tau τ tbar ŧ tcaron ť tcedilla ţ tcommaaccent ț thereexists ∃ therefore ∴ theta θ theta1 ϑ \
    thorn þ three 3 threequarters ¾ threesuperior ³ tilde ˜ tildeoperator ∼ timescircle ⊗ tonos ΄ trademark ™ \
    triangle ∆ triangularbullet ‣ turnstileright ⊢ two 2 twodotenleader ‥ twodotleader ‥ twosuperior ² uacute ú \
    ubreve ŭ ucircumflex û udblacute ű udieresis ü ugrave ù uhorn ư uhungarumlaut ű umacron ū underscore _ \
    underscoredbl ‗ union ∪ universal ∀ uogonek ų upsilon υ upsilondieresis ϋ upsilondieresistonos ΰ upsilontonos ύ \
    uring ů utilde ũ verticalbar | wacute ẃ wcircumflex ŵ wdieresis ẅ weierstrass ℘ wgrave ẁ whitecircle ○ \
    whitesquare □ won ₩ xi ξ yacute ý ycircumflex ŷ ydieresis ÿ yen ¥ ygrave ỳ zacute ź zcaron ž zdot ż \
    zdotaccent ż zero 0 zeta ζ";

/// Widths of Helvetica and of Times from the space to the tilde, in thousandths of the size, as their makers' AFM files
/// have them. The bold and the slanted are near enough: they only tell where words end.
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
const TIMES: [u16; 95] = [
    250, 333, 408, 500, 500, 833, 778, 180, 333, 333, 500, 564, 250, 333, 250, 278, 500, 500, 500,
    500, 500, 500, 500, 500, 500, 500, 278, 278, 564, 564, 564, 444, 921, 722, 667, 667, 722, 611,
    556, 722, 722, 333, 389, 722, 611, 889, 722, 722, 556, 722, 667, 556, 611, 722, 722, 944, 722,
    722, 611, 333, 278, 333, 469, 500, 333, 444, 500, 444, 500, 444, 333, 500, 500, 278, 278, 500,
    278, 778, 500, 500, 500, 500, 333, 389, 278, 500, 500, 722, 500, 500, 444, 480, 200, 480, 541,
];

impl Encoding {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"StandardEncoding" => Some(Self::Standard),
            b"WinAnsiEncoding" | b"PDFDocEncoding" => Some(Self::WinAnsi),
            b"MacRomanEncoding" => Some(Self::MacRoman),
            _ => None,
        }
    }

    /// The characters of all 256 codes, NUL where none is.
    pub(super) fn table(self) -> Vec<char> {
        let (start, high) = match self {
            Self::Standard => (0x80, STANDARD),
            Self::WinAnsi => (0x80, WIN_ANSI),
            Self::MacRoman => (0x80, MAC_ROMAN),
            Self::Symbol => (0x20, SYMBOL),
        };
        let low = (0..start).map(|code: u8| match (self, code) {
            (Self::Standard, b'\'') => '\u{2019}',
            (Self::Standard, b'`') => '\u{2018}',
            (_, 0x20..=0x7E) => char::from(code),
            _ => '\0',
        });
        let mut table: Vec<char> = low.chain(high.chars()).collect();
        table.resize(256, '\0');
        table
    }
}

/// The characters of glyphs by their names.
pub(super) struct Names(pub(super) Vec<(&'static str, &'static str)>);

impl Names {
    pub(super) fn new() -> Self {
        let mut words = NAMES.split(' ');
        let pairs = std::iter::from_fn(|| words.next().zip(words.next()));
        Self(pairs.collect())
    }

    /// What the glyph of that name is written as; `None` if that cannot be told.
    pub(super) fn text(&self, name: &[u8]) -> Option<String> {
        let name = str::from_utf8(name).ok()?;
        // `a.sc`, `one.oldstyle`: the same character in another shape.
        let plain = match name.find('.') {
            Some(0) | None => name,
            Some(at) => name.get(..at)?,
        };
        let parts = plain.split('_').map(|part| self.part(part));
        parts.collect()
    }

    fn part(&self, name: &str) -> Option<String> {
        let found = self.0.binary_search_by_key(&name, |(known, _)| known);
        if let Some((_, text)) = found.ok().and_then(|at| self.0.get(at)) {
            return Some((*text).to_owned());
        }
        if matches!(name, "space" | "nbspace" | "nonbreakingspace") {
            return Some(" ".to_owned());
        }
        if matches!(name, "softhyphen" | "sfthyphen") {
            return Some('\u{AD}'.to_string());
        }
        if name.len() == 1 && name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Some(name.to_owned());
        }
        if let Some(digits) = name.strip_prefix("uni")
            && digits.len() >= 4
        {
            let units: Option<Vec<u16>> = digits.as_bytes().chunks(4).map(unit).collect();
            return String::from_utf16(&units?).ok();
        }
        if let Some(digits) = name.strip_prefix('u')
            && (4..=6).contains(&digits.len())
        {
            let code = u32::from_str_radix(digits, 16).ok()?;
            return char::from_u32(code).map(String::from);
        }
        let number = name.strip_prefix("afii")?.parse().ok()?;
        cyrillic(number).map(String::from)
    }
}

fn unit(digits: &[u8]) -> Option<u16> {
    let digits = str::from_utf8(digits).ok()?;
    if digits.len() != 4 {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// The Cyrillic letters of the AFII register, which are in the order of the alphabet.
fn cyrillic(number: u32) -> Option<char> {
    let from = |first: u32, code: u32| code.checked_add(number.checked_sub(first)?);
    let code = match number {
        10017..=10022 => from(10017, 0x410),
        10023 => Some(0x401),
        10024..=10049 => from(10024, 0x416),
        10050 => Some(0x490),
        10051..=10061 => from(10051, 0x402),
        10062 => Some(0x40E),
        10145 => Some(0x40F),
        10065..=10070 => from(10065, 0x430),
        10071 => Some(0x451),
        10072..=10097 => from(10072, 0x436),
        10098 => Some(0x491),
        10099..=10109 => from(10099, 0x452),
        10110 => Some(0x45E),
        10193 => Some(0x45F),
        _ => None,
    };
    code.and_then(char::from_u32)
}

/// The width of a character in one of the fonts that every viewer has (9.6.2.2), in thousandths of the size.
pub(super) fn standard_width(font: &[u8], c: char) -> f64 {
    let has = |part: &[u8]| font.windows(part.len()).any(|window| window == part);
    if has(b"Courier") || has(b"Mono") {
        return 600.0;
    }
    let table = if has(b"Times") { &TIMES } else { &HELVETICA };
    let place = u32::from(c).checked_sub(0x20).map(|place| place as usize);
    place
        .and_then(|place| table.get(place))
        .map_or(556.0, |width| f64::from(*width))
}

/// A text string outside of pages (7.9.2.2): UTF-16 or UTF-8 with a byte order mark, else PDFDocEncoding.
pub(super) fn text_string(bytes: &[u8]) -> String {
    match bytes {
        [0xFE, 0xFF, rest @ ..] => utf16(rest),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        bytes => bytes.iter().map(|byte| pdf_doc(*byte)).collect(),
    }
}

fn pdf_doc(byte: u8) -> char {
    let high = byte.checked_sub(0x80).map(usize::from);
    let special = high.and_then(|place| PDF_DOC.chars().nth(place));
    special.unwrap_or(char::from(byte))
}

/// UTF-16, the higher byte first; what is none becomes U+FFFD.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_be_bytes(*pair));
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The letters that a ligature is made of, which is how words are searched for (NFKC of U+FB00 to U+FB06).
pub(super) const fn ligature(c: char) -> Option<&'static str> {
    match c {
        '\u{FB00}' => Some("ff"),
        '\u{FB01}' => Some("fi"),
        '\u{FB02}' => Some("fl"),
        '\u{FB03}' => Some("ffi"),
        '\u{FB04}' => Some("ffl"),
        '\u{FB05}' | '\u{FB06}' => Some("st"),
        _ => None,
    }
}
