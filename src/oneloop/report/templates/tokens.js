// The slider of an image tokenizer's page: shows every picture with its first tokens.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const slider = document.getElementById("length");
  const made = document.querySelectorAll(".made");
  const reached = document.querySelectorAll(".reached");
  function show() {
    const place = Number(slider.value) - 1;
    const bytes = data.bytes[place];
    document.getElementById("said").textContent =
      `${slider.value} of ${slider.max}, ${bytes} byte${bytes === 1 ? "" : "s"}, ${data.mean[place].toFixed(1)} dB on average`;
    data.pictures.forEach((picture, index) => {
      made[index].src = picture.images[place];
      reached[index].textContent = picture.quality[place].toFixed(1);
    });
  }
  slider.addEventListener("input", show);
  show();
})();
