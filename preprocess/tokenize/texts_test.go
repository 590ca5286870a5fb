package tokenize_test

// scripts are short texts in more than ten scripts, written for this test.
var scripts = map[string]string{
	"english":  "The pump stopped at 07:45 yesterday; we've replaced its bearing (part no. X-219b), but the flow is still 12.5% below what you'd expect. Could someone re-check the valve, please?",
	"french":   "Où est passée la commande n° 4 571 ? L'élève naïf a reçu un œuf à la coque, mais le garçon n'était pas là : ça suffit !",
	"german":   "Die Straßenbahn fährt heute später, weil über Nacht größere Schäden an der Oberleitung entstanden sind. STRAẞE, Fuß, Übergröße.",
	"turkish":  "İstanbul'da ılık bir akşam; çığlık atan martılar ve IŞIK dolu sokaklar. Şu ağacın gölgesinde oturduk.",
	"polish":   "Zażółć gęślą jaźń, a potem wróć do domu: pięć źdźbeł trawy leży na łące.",
	"viet":     "Cụ thể, bạn hãy gửi lại hoá đơn trước ngày mười lăm; nếu không, chúng tôi sẽ huỷ đơn đặt hàng.",
	"greek":    "Ο γρήγορος ποταμός κυλάει· ποιος θα τον σταματήσει; ΟΔΥΣΣΕΥΣ, ᾄδω, ῥόδον, Ἀθῆναι.",
	"russian":  "Съешь же ещё этих мягких французских булок, да выпей чаю. Йод — это элемент; ЁЛКА стоит в углу.",
	"hebrew":   "שָׁלוֹם לְכֻלָּם, הַמִּשְׁלוֹחַ יַגִּיעַ מָחָר בַּבֹּקֶר. מחיר: ₪120.",
	"arabic":   "مَرْحَبًا بِكُمْ، سَتَصِلُ الشُّحْنَةُ غَدًا. السعر ١٢٠ ريالًا؟ لا أعرف…",
	"hindi":    "नमस्ते, आपका पार्सल कल सुबह पहुँचेगा। क़ीमत ₹१२० है, ज़रूर देखिए।",
	"bengali":  "আপনার চিঠি পেয়েছি। আগামীকাল সকালে উত্তর দেব, ধন্যবাদ।",
	"tamil":    "வணக்கம், உங்கள் பொதி நாளை காலை வரும். கௌரவம், கொடை, பௌர்ணமி.",
	"thai":     "สวัสดีครับ พัสดุของคุณจะมาถึงพรุ่งนี้เช้า น้ำดื่มราคา ๑๒ บาท",
	"chinese":  "您好，您的包裹明天早上到达。请在签收前检查外包装是否完好！價格：１２０元。",
	"japanese": "こんにちは、荷物は明日の朝に届きます。ガギグゲゴとｶﾞｷﾞｸﾞ、「東京都」まで㍿ヽ（´ー｀）ノ",
	"korean":   "안녕하세요, 택배는 내일 아침에 도착합니다. 가격은 12,000원이에요. 각 값 닭",
	"georgian": "გამარჯობა, ამანათი ხვალ დილით ჩამოვა. ᲗᲑᲘᲚᲘᲡᲘ.",
	"armenian": "Բարև ձեզ, ծանրոցը վաղը կգա։ ԵՐԵՎԱՆ և Գյումրի։",
	"ethiopic": "ሰላም፣ እቃው ነገ ጠዋት ይደርሳል። ፲፪ ብር።",
	"emoji":    "done ✅ 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 👍🏽 1️⃣ ☕️ ♥︎ — ok 🤷🏻‍♀️!!",
	"maths":    "∀ε>0 ∃δ: |x−a|<δ ⇒ |ƒ(x)−ƒ(a)|<ε; 𝒜𝓑𝔠 𝟙𝟚𝟛 ½ ⅓ x² H₂O Ⅷ ⅷ ℵ₀ ﬁﬂ ™ №",
	"code":     "if err := f(x[i:j], &y); err != nil { return fmt.Errorf(\"%w: 0x%04x\", err, v<<2|^m) } // snake_case CamelCase\n\tfoo->bar::baz();\r\n",
}
