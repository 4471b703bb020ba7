// The payment server comes back here. What came of the payment is told in the call, not here.
const words = {
  de: [
    "Zurück zum Gespräch",
    "Sie können diese Seite schließen. Im Gespräch sehen Sie, was aus der Zahlung geworden ist.",
  ],
  ar: ["العودة إلى المكالمة", "يمكنك إغلاق هذه الصفحة. ترى في المكالمة ما آل إليه الدفع."],
};
const own = words[navigator.language.slice(0, 2)];
if (own) {
  const html = document.documentElement;
  html.lang = navigator.language.slice(0, 2);
  html.dir = html.lang === "ar" ? "rtl" : "ltr";
  document.title = own[0];
  document.getElementById("title").textContent = own[0];
  document.getElementById("text").textContent = own[1];
}
window.close(); // where the call page opened it
